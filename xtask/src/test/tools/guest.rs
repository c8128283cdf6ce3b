//! The configuration of a domain for `xl create`: a domain like that of the service www, with another name and
//! address.

use crate::initramfs::ExtraFile;
use std::net::Ipv4Addr;

/// A domain that xl is to make.
pub struct Guest {
    /// Its name; its page has it, too.
    pub name: &'static str,
    /// Its address.
    pub address: Ipv4Addr,
    /// The script that xl is to run for its network card, if not the one that Debian has as the default.
    pub script: Option<&'static str>,
}

/// Connected as Debian has it.
pub const CONNECTED: Guest = Guest { name: "made-by-xl", address: Ipv4Addr::new(10, 0, 2, 77), script: None };

/// Not connected at all: its script is a program that does nothing.
pub const UNCONNECTED: Guest =
    Guest { name: "alone", address: Ipv4Addr::new(10, 0, 2, 78), script: Some("/bin/true") };

impl Guest {
    /// Where its configuration is on the node.
    pub fn path(&self) -> String {
        format!("/etc/xen/{}", self.name)
    }

    /// Its configuration (`xl.cfg(5)`): kernel, memory and network card are those of [`demo::config`](crate::demo).
    pub fn file(&self) -> ExtraFile {
        let Guest { name, address, .. } = self;
        let script = self.script.map(|script| format!(",script={script}")).unwrap_or_default();
        let content = format!(
            "name = \"{name}\"\ntype = \"pvh\"\nkernel = \"/usr/lib/jitsu/kernels/www\"\nmemory = 4\nvcpus = 1\n\
             extra = \"ip={address}::10.0.2.2:255.255.255.0:{name}:eth0:off\"\n\
             vif = [\"mac=00:16:3e:00:02:{:02x},bridge=br0{script}\"]\n",
            address.octets()[3]
        );
        ExtraFile { path: self.path(), mode: 0o644, content: content.into_bytes() }
    }
}
