//! `cargo xtask demo`: a service is summoned by looking up its name, and the time of it drawn.

mod figures;
pub mod inside;
mod page;
mod timeline;

pub use figures::Figures;
pub use timeline::ms;

use crate::board;
use crate::card::Edit;
use crate::client::{NodeSpec, RunningNode, token};
use crate::fail::{Class, Fail};
use crate::image::{self, Image, SourceArgs};
use crate::qemu::Start;
use crate::{paths, ui};
use anyhow::{Context, Result};
use figures::Outside;
use serde_json::json;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Boot the node in QEMU, resolve www.jitsu.test through QEMU's network, fetch the page from the address
/// answered, and show what the time went into.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  cargo xtask demo\n  cargo xtask demo --icount --json figures.json\n  \
                        cargo xtask demo --board bananapi-m2-ultra")]
pub struct Args {
    /// Which of the folders in board/
    #[arg(long, default_value = board::DEFAULT)]
    board: String,
    /// Let virtual time count instructions, one per nanosecond, on one CPU: figures repeat. The client then
    /// runs inside the node, as another host on its network
    #[arg(long)]
    icount: bool,
    /// Also write the figures to this file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    #[command(flatten)]
    source: SourceArgs,
}

/// The service that is summoned, and where it must be found.
const SERVICE: &str = "www";
const SERVICE_ADDRESS: [u8; 4] = [10, 0, 2, 20];

/// Longest life of the demo's node.
const LIMIT: Duration = Duration::from_secs(300);

pub fn run(args: &Args) -> Result<()> {
    let image = image::build(&args.board, &args.source.options())?;
    let token = token()?;
    let log = paths::out("demo").join("console.log");
    let (page, figures, startup) = if args.icount {
        let client = inside::client()?;
        let node = inside::Node::boot(&image, client, &config(&token), log, inside::TIMEOUT)?;
        let measured = node.request(SERVICE)?;
        let page = crate::client::body_of(&measured.reply).context("reading the page")?;
        (page, Figures::of_one_clock(&measured, SERVICE)?, None)
    } else {
        let (page, figures, startup) = from_outside(&image, &token, log)?;
        (page, figures, Some(startup))
    };
    if !page.contains(&token) {
        return Err(Fail::new(
            Class::Node,
            format!(
                "the page does not contain this run's token {token}, so it comes from somewhere else:\n{page}"
            ),
        ));
    }
    print!("{}", page::text(&page));
    println!("(this run's token was {token})\n\n{}", figures.timeline.draw());
    show_remarks(&figures)?;
    if let Some(startup) = &startup {
        show_startup(&figures, startup);
    }
    if let Some(path) = &args.json {
        let document = json!({ "service": SERVICE, "token": token, "figures": figures,
            "power_on_to_dns_ns": startup.map(|startup| startup.power_on_to_dns.as_nanos() as u64) });
        let mut text = serde_json::to_string_pretty(&document).context("writing the figures as JSON")?;
        text.push('\n');
        paths::write_atomic(path, text.as_bytes())?;
        ui::say(format!("figures: {}", path.display()));
    }
    Ok(())
}

/// The demo's configuration of the node.
pub fn config(token: &str) -> String {
    let [a, b, c, d] = SERVICE_ADDRESS;
    format!(
        "[node]\nname = \"node\"\ndomain = \"jitsu.test\"\nuplink = \"eth0\"\naddress = \"10.0.2.15/24\"\n\
         gateway = \"10.0.2.2\"\nntp = []\n\n[[service]]\nname = \"{SERVICE}\"\naddress = \"{a}.{b}.{c}.{d}\"\n\
         kernel = \"www\"\nmemory = 4\ncmdline = \"token={token}\"\n"
    )
}

/// What is on a card, in place of [`config`]: addresses by DHCP, as on the card that it replaces.
fn config_on_card(token: &str) -> String {
    format!(
        "[node]\nname = \"node\"\ndomain = \"jitsu.test\"\naddress = \"dhcp\"\nntp = []\n\n[[service]]\nname = \"{SERVICE}\"\n\
         address = \"dhcp\"\nkernel = \"www\"\nmemory = 4\ncmdline = \"token={token}\"\n"
    )
}

/// How the node came up.
struct Startup {
    /// By this host's clock.
    power_on_to_dns: Duration,
}

/// What the node starts from: the card, with the demo's configuration on it, if the board has one.
fn start(image: &Image, token: &str, directory: &Path) -> Result<Start> {
    if image.card.is_none() {
        return Ok(Start::configured(image.clone(), config(token), Vec::new()));
    }
    let start = Start::card(image, directory)?;
    if let Start::Card { card, .. } = &start {
        Edit::open(card)?.write("jitsu.toml", config_on_card(token).as_bytes())?;
    }
    Ok(start)
}

fn from_outside(image: &Image, token: &str, log: PathBuf) -> Result<(String, Figures, Startup)> {
    let directory = tempfile::tempdir().context("creating a temporary directory")?;
    let start = start(image, token, directory.path())?;
    let node = {
        let _task = ui::Task::start("booting the node in QEMU");
        RunningNode::boot(NodeSpec { start, icount: false, log, timeout: LIMIT })?
    };
    let summon = || {
        // QEMU is told of the way beforehand, so that telling it is not in the timeline. Should another address
        // be answered, that one is connected to all the same.
        let address = node.status()?.service(SERVICE)?.address;
        node.reach(address, 80)?;
        ui::say(format!("asking {} for {SERVICE}.jitsu.test", node.resolver()));
        let summoned = node.summon(SERVICE)?;
        ui::say(format!("{} answered, page fetched from there", summoned.address));
        let after = |moment: Instant| moment.duration_since(summoned.asked).as_nanos() as u64;
        let client = Outside {
            answer_received_ns: after(summoned.answered),
            syn_sent_ns: after(summoned.page.connecting),
            first_byte_ns: after(summoned.page.first_byte),
        };
        let status = node.status()?;
        let figures = Figures::of_two_clocks(client, status.service(SERVICE)?, &status)?;
        Ok((summoned.page.body, figures, Startup { power_on_to_dns: node.ready_after() }))
    };
    summon().map_err(|error: anyhow::Error| node.blame(error))
}

/// How long the node took to come up, by two clocks: the node's own begins with dom0, this host's with QEMU. Both
/// depend on how fast this host emulates.
fn show_startup(figures: &Figures, startup: &Startup) {
    if let Some(ns) = figures.dns_up_ns {
        println!(
            "  {:<36} {:>10} ms  by the node's virtual counter",
            "dom0 kernel entry to DNS answering",
            ms(ns)
        );
    }
    let power_on = startup.power_on_to_dns.as_nanos() as u64;
    println!(
        "  {:<36} {:>10} ms  by this host's clock, from QEMU's start",
        "power-on to DNS answering",
        ms(power_on)
    );
}

/// What is to be known beside the picture: the limits in instruction time, the doubt otherwise.
fn show_remarks(figures: &Figures) -> Result<()> {
    match figures.time {
        figures::Time::Instructions => {
            println!("instruction time, one clock for client and node: 1 ns is one instruction");
            for bar in figures.bars()? {
                println!("  {bar}");
            }
        }
        figures::Time::Wall => println!(
            "wall time of an emulated machine; client and node have clocks of their own,\n\
             joined with a doubt of {} ms; `cargo xtask demo --icount` measures with one clock",
            timeline::ms(figures.uncertainty_ns)
        ),
    }
    Ok(())
}
