//! A unikernel that fails on purpose, so that the node's handling of failures can be tested.
//!
//! `fault=` on the command line says how: `crash` panics at once, `abort` reads an unmapped address at
//! once, `hang` never gets ready, `late-crash` gets ready and panics when somebody fetches `/crash`,
//! `late-hang` gets ready and does nothing more when somebody fetches `/hang`, `poweroff` and `reboot` get ready and end
//! themselves when somebody fetches `/end`. `patience` gets ready and waits for an hour for every client; its `/long` is
//! more than what buffers on the way take.
#![no_std]
#![no_main]

extern crate alloc;

use alloc::string::String;
use core::time::Duration;

use jitsu_rt::service::{self, Service};
use jitsu_rt::smoltcp::iface::SocketSet;
use jitsu_rt::smoltcp::time::{self, Instant};
use jitsu_rt::xen::{event, shutdown};
use jitsu_rt::{Guest, println};
use web::response::{Response, Status};
use web::server::{Patience, Server};
use xen_sys::sched::ShutdownReason;

const PORT: u16 = 80;

/// Of one with `fault=patience`.
const HOUR: Patience = {
    let hour = time::Duration::from_secs(3600);
    Patience { request: hour, idle: hour, response: hour, close: hour }
};

/// Bytes of `/long`.
const LONG: usize = 1 << 17;

jitsu_rt::entry!(main);

struct Faulty {
    fault: &'static str,
    server: Server<'static>,
}

impl Service for Faulty {
    fn ready(&mut self, _: Duration) {}

    fn poll(&mut self, sockets: &mut SocketSet<'static>, now: Instant) -> Option<Instant> {
        let fault = self.fault;
        self.server.poll(sockets, now, |request| {
            let name = request.path.name.as_str();
            fail(fault, name);
            let long = if name == "long" { "x".repeat(LONG) } else { String::from("not yet\n") };
            Response::new(Status::Ok).text("text/plain", &long)
        })
    }
}

fn fail(fault: &str, name: &str) {
    match (fault, name) {
        ("late-crash", "crash") => panic!("fault=late-crash: /{name} was fetched"),
        ("late-hang", "hang") => hang(),
        ("poweroff", "end") => shutdown(ShutdownReason::POWEROFF),
        ("reboot", "end") => shutdown(ShutdownReason::REBOOT),
        _ => {}
    }
}

fn main(guest: Guest) -> ! {
    match guest.command_line.get("fault").unwrap_or_default() {
        "crash" => panic!("fault=crash"),
        "abort" => abort(),
        "hang" => {
            println!("fault=hang: this guest never gets ready");
            hang()
        }
        fault @ ("late-crash" | "late-hang" | "poweroff" | "reboot") => {
            service::serve(guest, |_, _, sockets| Faulty { fault, server: Server::listen(sockets, PORT, 0) })
        }
        fault @ "patience" => service::serve(guest, |_, _, sockets| Faulty {
            fault,
            server: Server::patient(sockets, PORT, 0, HOUR),
        }),
        fault => panic!(
            "fault={fault}: expected crash, abort, hang, late-crash, late-hang, patience, poweroff or reboot"
        ),
    }
}

fn hang() -> ! {
    loop {
        event::wait(None);
    }
}

/// Shows that the processor's own exceptions are reported.
#[allow(unsafe_code)]
fn abort() -> ! {
    // SAFETY: this is not safe, and is meant to end in a data abort: nothing is mapped at 16.
    let value = unsafe { core::ptr::read_volatile(core::ptr::without_provenance::<u32>(16)) };
    panic!("fault=abort: address 16 holds {value:#x}")
}
