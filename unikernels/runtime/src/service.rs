//! The main loop of a unikernel that serves the network.

use alloc::format;
use alloc::string::String;
use alloc::vec;
use core::time::Duration;

use jitsu_rt_core::backlog::Backlog;
use jitsu_rt_core::cmdline::CommandLine;
use jitsu_rt_core::ip::IpConfig;
pub use jitsu_rt_core::takeover::STACK;
use jitsu_rt_core::takeover::{Outcome, take_over};
use smoltcp::iface::{Config, Interface, PollResult, SocketSet};
use smoltcp::time::Instant;
use smoltcp::wire::{
    ArpOperation, ArpPacket, ArpRepr, ETHERNET_HEADER_LEN, EthernetAddress, EthernetFrame, EthernetProtocol,
    EthernetRepr, HardwareAddress, IpCidr,
};

use crate::boot::Guest;
use crate::control::Control;
use crate::net::{Armed, MAX_FRAME, NetDevice, Netfront};
use crate::xen::event;
use crate::xen::store::Request;
use crate::{clock, println};

/// Written, with the nanoseconds from the first instruction, once the guest accepts connections.
const READY_KEY: &str = "data/ready";

const _: () = assert!(
    STACK.mss as usize == MAX_FRAME - ETHERNET_HEADER_LEN - 40,
    "the headers of IPv4 and TCP have 20 bytes each"
);

/// What the node calls this guest.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Identity {
    /// The domain's name.
    pub name: String,
    /// The domain's number.
    pub domid: u16,
}

/// A program that is driven by its sockets.
pub trait Service {
    /// The guest accepts connections; `boot_time` has passed since its first instruction.
    fn ready(&mut self, boot_time: Duration);

    /// Looks after the sockets. Called whenever something may have happened; must not wait. Returns when
    /// it wants to be called at the latest.
    fn poll(&mut self, sockets: &mut SocketSet<'static>, now: Instant) -> Option<Instant>;
}

/// Brings the network up, starts the service, announces it, and runs it until the node ends the guest.
///
/// `start` makes the service and opens its sockets, which must listen when it returns. None may be removed later.
///
/// # Panics
/// The command line has no usable `ip=`, or the device does not connect.
pub fn serve<S: Service>(
    guest: Guest,
    start: impl FnOnce(Identity, CommandLine<'static>, &mut SocketSet<'static>) -> S,
) -> ! {
    let Guest { command_line, mut store, mut grants, .. } = guest;
    let argument = command_line.get("ip").unwrap_or_default();
    let ip = IpConfig::parse(argument).unwrap_or_else(|error| panic!("ip={argument}: {error}"));

    let name = store.request(Request::Read("name"));
    let domid = store.request(Request::Read("domid"));
    let device = Netfront::publish(&mut store, &mut grants).unwrap_or_else(|error| panic!("{error}"));
    let mut device = NetDevice(device);
    let identity = Identity {
        name: store.wait_text(name).unwrap_or_else(|error| panic!("name: {error}")),
        domid: store.wait_number(domid).unwrap_or_else(|error| panic!("domid: {error}")),
    };

    let mac = EthernetAddress(device.0.mac());
    let mut interface = interface(&mut device, mac, &ip);
    let mut sockets = SocketSet::new(vec![]);
    let mut backlog = Backlog::default();
    let mut service = start(identity, command_line, &mut sockets);

    device.0.wait_connected(&mut store).unwrap_or_else(|error| panic!("{error}"));
    // Tells the bridge and the neighbours where the address is now, before anybody has to ask.
    device.0.send(&gratuitous_arp(mac, &ip));
    device.0.flush();
    let boot_time = clock::uptime();
    store.post(Request::Write(READY_KEY, format!("{}", boot_time.as_nanos()).as_bytes()));
    let mut control = Control::watch(&mut store);
    store.poll();
    service.ready(boot_time);
    println!("ready on {} after {} us", ip.address, boot_time.as_micros());

    loop {
        store.poll();
        let now = now();
        let taken = control.check(&mut store).map(|records| {
            let outcome = take_over(&records, (mac, &ip), &mut interface, &mut sockets, now);
            outcome.resets.iter().for_each(|reset| device.0.send(reset));
            backlog.note(&sockets, now);
            outcome
        });

        backlog.ingress(now, &mut interface, &mut device, &mut sockets);
        egress(now, &mut interface, &mut device, &mut sockets);
        let deadline = service.poll(&mut sockets, now);
        egress(now, &mut interface, &mut device, &mut sockets);
        device.0.flush();
        if let Some(Outcome { taken, refused, .. }) = taken {
            // After the flush: what is asked for is on its way before anything else.
            store.post(Request::Write(handover::TAKEN, format!("{taken}").as_bytes()));
            store.poll();
            println!("took {taken} connections over, refused {refused}");
        }
        // While nothing can be sent, time does not help: the back end's event does.
        let Armed { can_send, has_work } = device.0.arm();
        if has_work || (backlog.is_waiting() && can_send) {
            continue;
        }
        let network = if can_send { interface.poll_at(now, &sockets) } else { None };
        let next = [network, deadline, backlog.poll_at(&sockets)].into_iter().flatten().min();
        if next.is_none_or(|next| next > now) {
            let micros = |next: Instant| Duration::from_micros(next.total_micros() as u64);
            event::wait(next.map(|next| clock::at(micros(next))));
        }
    }
}

/// Sends what the sockets have to send.
fn egress(now: Instant, interface: &mut Interface, device: &mut NetDevice, sockets: &mut SocketSet<'static>) {
    while interface.poll_egress(now, device, sockets) == PollResult::SocketStateChanged {}
}

fn now() -> Instant {
    Instant::from_micros(clock::uptime().as_micros() as i64)
}

fn interface(device: &mut NetDevice, mac: EthernetAddress, ip: &IpConfig) -> Interface {
    let mut config = Config::new(HardwareAddress::Ethernet(mac));
    // Spreads initial sequence numbers and ports; the counter is the only thing here that differs each time.
    config.random_seed = clock::ticks().0;
    let mut interface = Interface::new(config, device, now());
    interface.update_ip_addrs(|addresses| {
        let address = IpCidr::new(ip.address.into(), ip.prefix_len);
        addresses.push(address).expect("there is room for one address");
    });
    if let Some(gateway) = ip.gateway {
        interface.routes_mut().add_default_ipv4_route(gateway).expect("there is room for one route");
    }
    interface
}

/// An ARP announcement (RFC 5227, section 3).
fn gratuitous_arp(mac: EthernetAddress, ip: &IpConfig) -> [u8; 42] {
    let arp = ArpRepr::EthernetIpv4 {
        operation: ArpOperation::Request,
        source_hardware_addr: mac,
        source_protocol_addr: ip.address,
        target_hardware_addr: EthernetAddress([0; 6]),
        target_protocol_addr: ip.address,
    };
    let ethernet = EthernetRepr {
        src_addr: mac,
        dst_addr: EthernetAddress::BROADCAST,
        ethertype: EthernetProtocol::Arp,
    };
    let mut bytes = [0; 42];
    let mut frame = EthernetFrame::new_unchecked(&mut bytes[..]);
    ethernet.emit(&mut frame);
    arp.emit(&mut ArpPacket::new_unchecked(frame.payload_mut()));
    bytes
}
