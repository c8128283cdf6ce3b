//! What a node without jitsud would have: a Linux guest with busybox's web server, made by `xl create`.

use super::Plan;
use super::creation::prepare_xl;
use super::node::Node;
use super::report::{Response, Responses, XL_LINUX};
use super::response::told;
use crate::debian;
use crate::demo::inside::{BRIDGE, CLIENT};
use crate::initramfs::ExtraFile;
use crate::test::{self, guest};
use crate::ui;
use anyhow::{Context, Result, ensure};
use probe::created::{CREATED_MARK, Created};

/// Its name, and its address.
const NAME: &str = "linux";
pub const ADDRESS: &str = "10.0.2.91";

/// Its memory, MiB: less, and its kernel does not unpack itself.
const MEMORY: u32 = 64;

/// The guest's script, and the program that it has for its page.
const SCRIPT: &[u8] = include_bytes!("guest/rcS");
const PAGE: (&str, &[u8]) = ("www/cgi-bin/page", include_bytes!("guest/page"));

/// Its kernel and initramfs, and its configuration.
///
/// # Errors
/// When Debian's packages cannot be had.
pub fn files(options: &debian::Options) -> Result<Vec<ExtraFile>> {
    let guest = guest::provide(options, SCRIPT, &[PAGE])?;
    let file = |path: &str, content| ExtraFile { path: path.into(), mode: 0o644, content };
    // The kernel's ciphers test themselves for 0.94 s otherwise.
    let configuration = format!(
        "name = \"{NAME}\"\ntype = \"pvh\"\nkernel = \"/srv/debian\"\nramdisk = \"/srv/debian.initramfs\"\n\
         memory = {MEMORY}\nvcpus = 1\n\
         extra = \"console=hvc0 quiet cryptomgr.notests ip={ADDRESS}::10.0.2.2:255.255.252.0:{NAME}:eth0:off\"\n\
         vif = [\"mac=00:16:3e:00:02:5b,bridge={BRIDGE}\"]\n"
    );
    Ok(vec![
        file("/srv/debian", guest.kernel),
        file("/srv/debian.initramfs", guest.ramdisk),
        file(&format!("/etc/xen/{NAME}"), configuration.into_bytes()),
    ])
}

/// Has xl make it again and again, each time until a client has the first byte of its page. The last one goes on.
///
/// # Errors
/// When one does not serve.
pub fn cold(node: &Node, plan: &Plan) -> Result<Responses> {
    let _task = ui::Task::start(format!("{} cold starts: xl create and a Linux guest", plan.linux));
    prepare_xl(&node.running)?;
    let mut samples = Vec::new();
    for run in 0..plan.linux {
        if run > 0 {
            end(node)?;
        }
        let command = format!("xl-create /etc/xen/{NAME} {ADDRESS} {BRIDGE} {CLIENT}");
        let created: Created = node.measure(&command, CREATED_MARK)?;
        let first_byte_ns = created.first_byte_ns.context("xl-create tells no first byte")?;
        samples.push(Response { answered_ns: None, connected_ns: None, first_byte_ns });
    }
    Ok(told(Responses {
        id: XL_LINUX.into(),
        what: "xl create, a Linux guest".into(),
        samples,
        failures: Vec::new(),
    }))
}

/// Gives it the page that the server at `address` has.
///
/// # Errors
/// When it does not get it.
pub fn take_page_of(node: &Node, address: &str) -> Result<()> {
    // Not by wget, which would load the C library of Xen's tools.
    let ask = format!(r"printf 'GET /cgi-bin/page?{address} HTTP/1.0\r\n\r\n' | nc {ADDRESS} 80");
    let said = node.running.shell(&ask)?;
    ensure!(said.contains("taken"), "the Linux guest did not take over the page:\n{said}");
    Ok(())
}

/// Ends it.
///
/// # Errors
/// When it does not go.
pub fn end(node: &Node) -> Result<()> {
    test::release(&node.running, NAME, "xl destroy")
}
