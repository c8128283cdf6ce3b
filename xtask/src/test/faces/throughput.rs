//! Our DNS server beside dnsmasq. `cargo xtask bench dns` has the others, too.

use super::Test;
use crate::bench::dns::{DNSMASQ, OURS, Profile, SHORT, measure};
use anyhow::{Result, ensure};

pub const TESTS: [Test; 1] =
    [("DNS: as many answers a second for names that run as dnsmasq has", not_behind_dnsmasq)];

fn not_behind_dnsmasq() -> Result<String> {
    let measured = measure(&SHORT, Profile::Rehearsal)?;
    // Whatever else this host does makes a round worse, and none better.
    let (ours, dnsmasq) = (measured.best(OURS)?, measured.best(DNSMASQ)?);
    ensure!(ours >= dnsmasq, "{ours} answers a second, and dnsmasq has {dnsmasq}");
    Ok(format!("{:.2} of dnsmasq's", ours as f64 / dnsmasq as f64))
}
