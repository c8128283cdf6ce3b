//! `cargo xtask demo`: a service is summoned by looking up its name, and the time of it drawn.

mod figures;
pub mod inside;
mod page;
mod timeline;

pub use figures::Figures;
pub use timeline::ms;

use crate::board;
use crate::client::{NodeSpec, RunningNode, token};
use crate::fail::{Class, Fail};
use crate::image::{self, Image, SourceArgs};
use crate::{paths, ui};
use anyhow::{Context, Result};
use figures::Outside;
use serde_json::json;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Boot the node in QEMU, resolve www.jitsu.test through QEMU's network, fetch the page from the address
/// answered, and show what the time went into.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  cargo xtask demo\n  cargo xtask demo --icount --json figures.json")]
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
    let (page, figures) = if args.icount {
        let measured = inside::measure(&image, inside::client()?, &config(&token), SERVICE, log)?;
        let page = crate::client::body_of(&measured.reply).context("reading the page")?;
        (page, Figures::of_one_clock(&measured, SERVICE)?)
    } else {
        from_outside(image, &token, log)?
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
    if let Some(path) = &args.json {
        let document = json!({ "service": SERVICE, "token": token, "figures": figures });
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
         gateway = \"10.0.2.2\"\n\n[[service]]\nname = \"{SERVICE}\"\naddress = \"{a}.{b}.{c}.{d}\"\n\
         kernel = \"www\"\nmemory = 4\ncmdline = \"token={token}\"\n"
    )
}

fn from_outside(image: Image, token: &str, log: PathBuf) -> Result<(String, Figures)> {
    let config = config(token);
    let node = {
        let _task = ui::Task::start("booting the node in QEMU");
        RunningNode::boot(NodeSpec { image, config, files: Vec::new(), icount: false, log, timeout: LIMIT })?
    };
    let summon = || {
        // QEMU is told of the way beforehand, so that telling it is not in the timeline. Should another address
        // be answered, that one is connected to all the same.
        node.reach(SERVICE_ADDRESS.into(), 80)?;
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
        Ok((summoned.page.body, figures))
    };
    summon().map_err(|error: anyhow::Error| node.blame(error))
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
             joined with a doubt of {} ms; `--icount` measures with one clock",
            timeline::ms(figures.uncertainty_ns)
        ),
    }
    Ok(())
}
