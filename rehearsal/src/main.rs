//! What faces the network, on any Linux: jitsud's DNS server and HTTP port over its directory of services, with
//! domains that are only pretended. It is what tests of these faces talk to, and what one works on the page with.
//! It proves nothing about Xen, and never goes into an image.
//!
//! When it answers, it prints its addresses as a line of JSON: `{"dns":"127.0.0.1:5353","http":"127.0.0.1:8080"}`.

mod configuration;
mod stage;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Parser;
use jitsud::config::Forward;
use jitsud::control::{Desk, Refusal};
use jitsud::dns::forward::Forwarder;
use jitsud::logging::{Log, Ring};
use jitsud::store::socket;
use jitsud::succession::Succession;
use jitsud::summoner::Summoner;
use jitsud::{control, dns, mdns, random, status};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Requests that may wait to be looked at, as in jitsud.
const REQUESTS: usize = 512;

/// jitsud's DNS and HTTP on ports of this host, over domains that are only pretended
#[derive(Parser)]
#[command(
    after_help = "A service whose kernel is \"fails\" cannot be built; one whose kernel is \"hangs\" is never \
                        ready.\n\nExample:\n  rehearsal --config jitsu.toml --dns 127.0.0.1:5353 --http 127.0.0.1:8080"
)]
struct Args {
    /// The node and its services; addresses must be static, kernels need not be there
    #[arg(long)]
    config: PathBuf,
    /// Where DNS is answered; port 0 for any that is free
    #[arg(long, default_value = "127.0.0.1:0")]
    dns: SocketAddr,
    /// Where HTTP is answered
    #[arg(long, default_value = "127.0.0.1:0")]
    http: SocketAddr,
    /// Where jitsuctl is answered: a Unix socket that is made
    #[arg(long, value_name = "PATH")]
    control: Option<PathBuf>,
    /// The interface on which the node is announced, if its configuration says so; it must have the node's address
    #[arg(long)]
    mdns: Option<String>,
    /// How long a domain takes to be built, in milliseconds
    #[arg(long, default_value_t = 3)]
    build_ms: u64,
    /// How long it then takes to get ready, in milliseconds
    #[arg(long, default_value_t = 10)]
    boot_ms: u64,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let args = Args::parse();
    let log = Log::begin();
    let mut terminate = signal(SignalKind::terminate())?;
    let loaded = configuration::load(&args.config)?;
    let (summoner, requests) = Summoner::new(REQUESTS);
    // There is no network here that could name servers.
    let forwarder = match &loaded.config.node.forward {
        Forward::To(servers) => Some(Forwarder::new(servers, summoner.dns_counters())),
        Forward::Auto | Forward::Off => None,
    };
    let zone = Arc::new(dns::Zone::new(&loaded.config)?.forwarding(forwarder));

    let mut sockets = dns::Sockets::default();
    let at =
        sockets.open(args.dns, &Succession::default()).with_context(|| format!("DNS at {}", args.dns))?;
    let http = TcpListener::bind(args.http).await.with_context(|| format!("TCP {}", args.http))?;
    println!("{}", serde_json::json!({ "dns": at, "http": http.local_addr()? }));

    let limits = dns::Limits::new(&loaded.config.node, random::secret(), summoner.dns_counters());
    let limits = Arc::new(limits);
    let front = Arc::new(dns::Front::new(zone, summoner.clone(), limits.clone()));
    let shutdown = CancellationToken::new();
    let pace = stage::Pace {
        build: Duration::from_millis(args.build_ms),
        boot: Duration::from_millis(args.boot_ms),
    };
    let services = loaded.config.services.iter().map(|service| service.name.clone()).collect();
    let control =
        answer_jitsuctl(args.control, services, log.ring().clone(), summoner.clone(), shutdown.clone());
    let config = &loaded.config;
    let announced = match args.mdns.filter(|_| config.node.mdns) {
        Some(interface) => {
            let socket = mdns::Socket::open(&interface, config.node.address);
            let socket = socket.with_context(|| format!("mDNS on {interface}"))?;
            tokio::spawn(mdns::serve(socket, config.clone(), summoner.clone(), limits, shutdown.clone()))
        }
        None => tokio::spawn(async {}),
    };
    let stage = stage::Stage::new(loaded, pace);
    tokio::select! {
        () = front.serve(sockets, shutdown.clone()) => {}
        () = status::serve(http, summoner, shutdown.clone()) => {}
        () = stage.run(requests) => {}
        result = control => return result,
        _ = terminate.recv() => {}
    }
    shutdown.cancel();
    announced.await?;
    Ok(())
}

/// Answers jitsuctl for ever, if that is wanted. There is no XenStore, and no other daemon that could begin anew.
async fn answer_jitsuctl(
    path: Option<PathBuf>,
    services: Arc<[String]>,
    log: Ring,
    summoner: Summoner,
    shutdown: CancellationToken,
) -> Result<()> {
    let Some(path) = path else { return std::future::pending().await };
    let listener = socket::listen(&path)?;
    let (reload, mut orders) = mpsc::channel(1);
    let desk = Desk { summoner, services, log, store: None, reload };
    tokio::join!(control::serve(listener, desk, shutdown), async {
        while let Some(order) = orders.recv().await {
            let _gone =
                order.answer.send(Err(Refusal::Failed("nothing is read anew in a rehearsal".to_owned())));
        }
    });
    Ok(())
}
