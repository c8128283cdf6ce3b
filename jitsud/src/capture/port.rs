//! A guest's interface as the driver uses it, beside the bridge: what was held goes in, and what opens and ends its
//! TCP connections is seen.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use nix::net::if_::if_nametoindex;
use nix::sys::socket::{MsgFlags, recv, send};
use tokio::io::unix::AsyncFd;

use super::sys;
use crate::net::Vif;

/// Bytes of a frame that are seen: all headers, with every option (14 + 60 + 60).
const SEEN: usize = 134;

/// Accepts TCP segments with SYN, FIN or RST: not fragments, and with IPv6 not what has extension headers. Offsets are
/// those of Ethernet frames; jumps say where to.
const OPENS_OR_ENDS: [libc::sock_filter; 16] = {
    const LOAD_BYTE: u32 = libc::BPF_LD | libc::BPF_B | libc::BPF_ABS;
    const LOAD_HALF: u32 = libc::BPF_LD | libc::BPF_H | libc::BPF_ABS;
    const LOAD_BYTE_BEHIND: u32 = libc::BPF_LD | libc::BPF_B | libc::BPF_IND;
    const LENGTH_OF_IP_HEADER: u32 = libc::BPF_LDX | libc::BPF_B | libc::BPF_MSH;
    const IF_EQUAL: u32 = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
    const IF_ANY_OF: u32 = libc::BPF_JMP | libc::BPF_JSET | libc::BPF_K;
    const RETURN: u32 = libc::BPF_RET | libc::BPF_K;
    const FIN_SYN_RST: u32 = 0x07;
    const IPV6: u8 = 9;
    const ACCEPT: u8 = 14;
    const DROP: u8 = 15;
    const fn step(code: u32, k: u32) -> libc::sock_filter {
        libc::sock_filter { code: code as u16, jt: 0, jf: 0, k }
    }
    const fn jump(from: u8, code: u32, k: u32, yes: u8, no: u8) -> libc::sock_filter {
        libc::sock_filter { code: code as u16, jt: yes - from - 1, jf: no - from - 1, k }
    }
    [
        step(LOAD_HALF, 12),
        jump(1, IF_EQUAL, 0x0800, 2, IPV6),
        step(LOAD_BYTE, 14 + 9),
        jump(3, IF_EQUAL, 6, 4, DROP),
        step(LOAD_HALF, 14 + 6),
        jump(5, IF_ANY_OF, 0x1fff, DROP, 6),
        step(LENGTH_OF_IP_HEADER, 14),
        step(LOAD_BYTE_BEHIND, 14 + 13),
        jump(8, IF_ANY_OF, FIN_SYN_RST, ACCEPT, DROP),
        jump(IPV6, IF_EQUAL, 0x86dd, 10, DROP),
        step(LOAD_BYTE, 14 + 6),
        jump(11, IF_EQUAL, 6, 12, DROP),
        step(LOAD_BYTE, 14 + 40 + 13),
        jump(13, IF_ANY_OF, FIN_SYN_RST, ACCEPT, DROP),
        step(RETURN, SEEN as u32),
        step(RETURN, 0),
    ]
};

/// A guest's interface.
#[derive(Debug)]
pub struct Port {
    socket: AsyncFd<OwnedFd>,
    index: u32,
    vif: Vif,
}

impl Port {
    /// Of an interface that is there.
    ///
    /// # Errors
    /// It has gone, or the kernel has no packet sockets (module `af_packet`).
    pub fn open(vif: Vif) -> io::Result<Self> {
        let index = if_nametoindex(vif.to_string().as_str())?;
        let socket = sys::packet_socket(index, &OPENS_OR_ENDS)?;
        Ok(Port { socket: sys::readiness_of_socket(socket)?, index, vif })
    }

    /// Which it is.
    pub fn vif(&self) -> Vif {
        self.vif
    }

    /// The interface's number in dom0.
    pub fn index(&self) -> u32 {
        self.index
    }

    /// Sends a frame to the guest, behind all that were sent to it before.
    pub fn send(&self, frame: &[u8]) -> io::Result<()> {
        send(self.socket.as_raw_fd(), frame, MsgFlags::MSG_DONTWAIT)?;
        Ok(())
    }

    /// Waits until a segment that opens or ends a connection has been seen. Cancelling it loses nothing.
    pub async fn readable(&self) -> io::Result<()> {
        self.socket.readable().await.map(|mut ready| ready.retain_ready())
    }

    /// Hands out each segment seen since the last call, cut to its headers, until there is none.
    pub fn seen(&self, mut segment: impl FnMut(&[u8])) {
        let mut buffer = [0; SEEN];
        // At once, whatever tokio knows of it: that may be of before the last segment.
        while let Ok(length) = recv(self.socket.as_raw_fd(), &mut buffer, MsgFlags::MSG_DONTWAIT) {
            segment(&buffer[..length]);
        }
        sys::has_been_read(&self.socket);
    }

    /// Frames that the kernel has sent to the guest since the interface was made.
    pub fn sent(&self) -> io::Result<u64> {
        let counter = std::fs::read_to_string(format!("/sys/class/net/{}/statistics/tx_packets", self.vif))?;
        counter.trim().parse().map_err(io::Error::other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the filter returns for a frame, by the rules of `filter(7)`'s machine, as far as it is used.
    fn accepted(frame: &[u8]) -> Option<usize> {
        let byte = |at: usize| frame.get(at).copied().map(u32::from);
        let half = |at: usize| Some(byte(at)? << 8 | byte(at + 1)?);
        let (mut pc, mut a, mut x) = (0, 0, 0);
        loop {
            let libc::sock_filter { code, jt, jf, k } = OPENS_OR_ENDS[pc];
            let at = k as usize;
            pc += 1;
            match u32::from(code) {
                0x30 => a = byte(at)?,
                0x28 => a = half(at)?,
                0x50 => a = byte(at + x as usize)?,
                0xb1 => x = 4 * (byte(at)? & 0xf),
                0x15 => pc += usize::from(if a == k { jt } else { jf }),
                0x45 => pc += usize::from(if a & k != 0 { jt } else { jf }),
                0x06 => return Some(at),
                other => panic!("instruction {other:#x}"),
            }
        }
    }

    fn ipv4(options: usize, protocol: u8, fragment: u16, flags: u8) -> Vec<u8> {
        let mut frame = vec![0; 14 + 20 + options + 20];
        frame[12..14].copy_from_slice(&[0x08, 0x00]);
        frame[14] = 0x45 + (options / 4) as u8;
        frame[14 + 6..14 + 8].copy_from_slice(&fragment.to_be_bytes());
        frame[14 + 9] = protocol;
        frame[14 + 20 + options + 13] = flags;
        frame
    }

    fn ipv6(protocol: u8, flags: u8) -> Vec<u8> {
        let mut frame = vec![0; 14 + 40 + 20];
        frame[12..14].copy_from_slice(&[0x86, 0xdd]);
        frame[14 + 6] = protocol;
        frame[14 + 40 + 13] = flags;
        frame
    }

    #[test]
    fn segments_that_open_or_end_a_connection_are_seen() {
        for (what, frame, seen) in [
            ("SYN", ipv4(0, 6, 0, 0x02), true),
            ("SYN-ACK behind options", ipv4(24, 6, 0x4000, 0x12), true),
            ("FIN-ACK", ipv4(0, 6, 0, 0x11), true),
            ("RST", ipv4(0, 6, 0, 0x04), true),
            ("data", ipv4(0, 6, 0, 0x18), false),
            ("UDP", ipv4(0, 17, 0, 0x02), false),
            ("a fragment", ipv4(0, 6, 0x0001, 0x02), false),
            ("IPv6 SYN", ipv6(6, 0x02), true),
            ("IPv6 data", ipv6(6, 0x10), false),
            ("IPv6 UDP", ipv6(17, 0x02), false),
        ] {
            assert_eq!(accepted(&frame) == Some(SEEN), seen, "{what}");
        }
        let mut arp = ipv4(0, 6, 0, 0x02);
        arp[12..14].copy_from_slice(&[0x08, 0x06]);
        assert_eq!(accepted(&arp), Some(0));
        // Too short for what is looked at: the kernel drops it.
        assert_eq!(accepted(&arp[..20]), Some(0));
        assert_eq!(accepted(&ipv4(0, 6, 0, 0x02)[..40]), None);
    }
}
