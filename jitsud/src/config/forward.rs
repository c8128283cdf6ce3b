//! `forward`: what becomes of questions that the node is not authoritative for.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::reader::{Field, Reader};

/// Most servers. More make no name better known (see `crate::dns::forward`).
pub const MAX_SERVERS: usize = 8;

/// DNS.
const PORT: u16 = 53;

const EXAMPLE: &str = "forward = [\"192.168.1.1\", \"9.9.9.9\"], \"auto\" or \"off\"";

/// Who is asked.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub enum Forward {
    /// The servers that the network names: those of the lease, or of `/etc/resolv.conf`, or the gateway.
    #[default]
    Auto,
    /// Nobody: such questions are refused.
    Off,
    /// These, the most preferred first; at least one.
    To(Vec<SocketAddr>),
}

/// Reads the key. Servers that cannot be asked are left out.
pub fn read(reader: &mut Reader<'_, '_>) -> Forward {
    let Some(listed) = reader.string_or_strings("forward", EXAMPLE) else {
        return Forward::default();
    };
    match &listed.value[..] {
        [Field { value: "auto", .. }] => return Forward::Auto,
        [Field { value: "off", .. }] | [] => return Forward::Off,
        _ => {}
    }
    if listed.value.len() > MAX_SERVERS {
        let what = format!("forward lists {} servers, more than {MAX_SERVERS}", listed.value.len());
        let fix = format!("remove some; the first {MAX_SERVERS} are asked meanwhile");
        reader.problem(listed.line, what, fix);
    }
    let mut servers = Vec::new();
    for Field { value, line } in listed.value.into_iter().take(MAX_SERVERS) {
        match server(value) {
            Ok(server) if servers.contains(&server) => {}
            Ok(server) => servers.push(server),
            Err(fault) => {
                let fix = format!("write {EXAMPLE}; this server is not asked meanwhile");
                reader.problem(line, format!("forward server {value:?} {fault}"), fix);
            }
        }
    }
    if servers.is_empty() { Forward::Auto } else { Forward::To(servers) }
}

/// An address, with a port or without one: `192.168.1.1`, `192.168.1.1:5353`, `fd00::1`, `[fd00::1]:5353`.
pub fn server(text: &str) -> Result<SocketAddr, &'static str> {
    let bracketed = || text.strip_prefix('[')?.strip_suffix(']')?.parse().ok();
    let address = text.parse::<IpAddr>().ok().or_else(bracketed);
    let server = match address {
        Some(address) => SocketAddr::new(address, PORT),
        None => text.parse().map_err(|_| "is no address, nor address:port or [address]:port")?,
    };
    let unusable = match server.ip() {
        IpAddr::V4(v4) => v4.is_multicast() || v4 == Ipv4Addr::BROADCAST,
        IpAddr::V6(v6) => v6.is_multicast() || v6.is_unicast_link_local(),
    };
    if server.ip().is_unspecified() || server.port() == 0 || unusable {
        return Err("is not one that a server can be asked at");
    }
    // Port 53 of this host is the node itself.
    if server.ip().is_loopback() && server.port() == PORT {
        return Err("is the node itself");
    }
    Ok(server)
}

/// The servers of a resolv.conf (resolv.conf(5)); lines that name none are skipped.
pub fn of_resolv_conf(text: &str) -> Vec<SocketAddr> {
    let servers = text.lines().filter_map(|line| {
        let mut words = line.split_ascii_whitespace();
        (words.next()? == "nameserver").then(|| words.next())?
    });
    servers.filter_map(|word| server(word).ok()).take(MAX_SERVERS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_addresses_with_or_without_ports() {
        for (text, expected) in [
            ("192.168.1.1", "192.168.1.1:53"),
            ("192.168.1.1:5353", "192.168.1.1:5353"),
            ("fd00::1", "[fd00::1]:53"),
            ("[fd00::1]", "[fd00::1]:53"),
            ("[fd00::1]:5353", "[fd00::1]:5353"),
            ("127.0.0.1:5353", "127.0.0.1:5353"),
        ] {
            assert_eq!(server(text), Ok(expected.parse().unwrap()), "{text}");
        }
        for wrong in [
            "",
            "dns.example",
            "192.168.1",
            "192.168.1.1:",
            "192.168.1.1:0",
            "192.168.1.1:70000",
            "0.0.0.0",
            "::",
            "224.0.0.1",
            "255.255.255.255",
            "ff02::1",
            "fe80::1",
            "127.0.0.1",
            "::1",
            "[fd00::1",
            "fd00::1]:53",
        ] {
            assert!(server(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn resolv_conf_names_servers_among_other_things() {
        let text = "# nameserver 10.0.0.9\nsearch example\nnameserver 10.0.0.1\n nameserver\tfd00::1 \nnameserver\n\
                    nameserver 127.0.0.1\nnameserver fe80::1%eth0\nnameservers 10.0.0.8\n\0\u{fffd}";
        assert_eq!(of_resolv_conf(text), ["10.0.0.1:53".parse().unwrap(), "[fd00::1]:53".parse().unwrap()]);
        let many = "nameserver 10.0.0.1\n".repeat(100);
        assert_eq!(of_resolv_conf(&many).len(), MAX_SERVERS);
    }
}
