//! The unikernel `www`: a web server on port 80.
//!
//! It serves the site that was appended to its image (`cargo xtask unikernel pack`), or a page about itself if there is
//! none; and `/healthz`, unless the site has such a file. Clients may keep a site's files for `max-age=` seconds, which is
//! on the command line; without it they ask each time whether a file has changed.
#![no_std]
#![no_main]

extern crate alloc;

use alloc::string::String;
use core::time::Duration;

use jitsu_rt::handover::Offer;
use jitsu_rt::service::{self, Identity, Service};
use jitsu_rt::site::Site;
use jitsu_rt::smoltcp::iface::SocketSet;
use jitsu_rt::smoltcp::time::Instant;
use jitsu_rt::{CommandLine, Guest, println};
use web::files::Files;
use web::page::Page;
use web::server::{CONNECTIONS, RECEIVE_BUFFER, Server};

/// Where browsers look.
const PORT: u16 = 80;

jitsu_rt::entry!(main);
jitsu_rt::serves_sites!();
jitsu_rt::takes_over!(Offer {
    ports: [PORT, 0, 0, 0],
    connections: CONNECTIONS as u16,
    window: RECEIVE_BUFFER as u16,
    ..service::STACK
});

struct Www {
    page: Page,
    files: Option<Files<'static>>,
    server: Server<'static>,
}

impl Www {
    fn start(
        files: Option<Files<'static>>,
        memory: usize,
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
        Www { page, files, server: Server::listen(sockets, PORT, memory) }
    }
}

impl Service for Www {
    fn ready(&mut self, boot_time: Duration) {
        self.page.boot_time = boot_time;
    }

    fn poll(&mut self, sockets: &mut SocketSet<'static>, now: Instant) -> Option<Instant> {
        let Www { page, files, server } = self;
        server.poll(sockets, now, |request| match files {
            Some(files) => files.respond(request),
            None => page.respond(request),
        })
    }
}

/// The site behind the image, if there is one.
fn files(appended: &'static [u8], command_line: &CommandLine<'static>) -> Option<Files<'static>> {
    if appended.is_empty() {
        return None;
    }
    let site = Site::read(appended).unwrap_or_else(|error| panic!("{error}"));
    println!("serves a site of {} files, {} KiB", site.files().len(), site.size().div_ceil(1024));
    let max_age = command_line.get("max-age").map(|value| {
        value.parse().unwrap_or_else(|_| panic!("max-age={value}: expected seconds, as in max-age=3600"))
    });
    Some(Files::new(site, max_age))
}

fn main(guest: Guest) -> ! {
    let files = files(guest.appended, &guest.command_line);
    let memory = guest.memory;
    service::serve(guest, |identity, command_line, sockets| {
        Www::start(files, memory, identity, command_line, sockets)
    })
}
