//! The unikernel `www`: one page on port 80, and `/healthz`.
#![no_std]
#![no_main]

extern crate alloc;

use alloc::string::String;
use core::time::Duration;

use jitsu_rt::handover::Offer;
use jitsu_rt::service::{self, Identity, Service};
use jitsu_rt::smoltcp::iface::SocketSet;
use jitsu_rt::smoltcp::time::Instant;
use jitsu_rt::{CommandLine, Guest};
use web::page::Page;
use web::server::{CONNECTIONS, RECEIVE_BUFFER, Server};

/// Where browsers look.
const PORT: u16 = 80;

jitsu_rt::entry!(main);
jitsu_rt::takes_over!(Offer {
    ports: [PORT, 0, 0, 0],
    connections: CONNECTIONS as u16,
    window: RECEIVE_BUFFER as u16,
    ..service::STACK
});

struct Www {
    page: Page,
    server: Server,
}

impl Www {
    fn start(
        identity: Identity,
        command_line: CommandLine<'static>,
        sockets: &mut SocketSet<'static>,
    ) -> Self {
        let page = Page {
            name: identity.name,
            domid: identity.domid,
            boot_time: Duration::ZERO,
            token: String::from(command_line.get("token").unwrap_or_default()),
        };
        Www { page, server: Server::listen(sockets, PORT) }
    }
}

impl Service for Www {
    fn ready(&mut self, boot_time: Duration) {
        self.page.boot_time = boot_time;
    }

    fn poll(&mut self, sockets: &mut SocketSet<'static>, now: Instant) -> Option<Instant> {
        self.server.poll(sockets, now, |request| self.page.respond(request))
    }
}

fn main(guest: Guest) -> ! {
    service::serve(guest, Www::start)
}
