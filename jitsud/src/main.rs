//! `jitsud [--config FILE]`: parses, connects, serves until SIGTERM.

use std::ffi::OsString;
use std::io;
use std::net::{self, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use jitsud::addresses::{self, Addresses};
use jitsud::card::{Card, Parameters};
use jitsud::clock::Clock;
use jitsud::config::{self, Draft, Loaded, Unusable};
use jitsud::control::Desk;
use jitsud::control::protocol::SOCKET;
use jitsud::dhcp::{KeptLeases, Lease};
use jitsud::directory::Moment;
use jitsud::dns::forward::Forwarder;
use jitsud::led::{Led, Signal};
use jitsud::logging::{Log, syslog};
use jitsud::net::{Interfaces, Network};
use jitsud::node::{Core, Heir, RUN, Toolstack};
use jitsud::reload::Reloading;
use jitsud::schema::Boot;
use jitsud::store::socket;
use jitsud::succession::{self, Succession};
use jitsud::summoner::Summoner;
use jitsud::text::chain;
use jitsud::{afterwards, control, dns, mdns, random, status};
use nix::fcntl::{FcntlArg, fcntl};
use nix::sys::resource::{Resource, getrlimit, rlim_t};
use nix::unistd::{close, sethostname};
use tokio::net::{TcpListener, UnixListener};
use tokio::signal::unix::{Signal as Signals, SignalKind, signal};
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;

const USAGE: &str = "\
jitsud: summons unikernels when they are asked for

Usage: jitsud [--config FILE]

  --config FILE  the node and its services (default: jitsu.toml of the card, else /etc/jitsu.toml)
  --help         this text

Runs in dom0 of Xen 4.17 to 4.22 on ARM and logs to standard error. SIGTERM ends all services. SIGHUP ends the daemon
alone: services run on, and the next daemon takes them over. For a changed configuration there is `jitsuctl reload`.
Example: jitsud --config /boot/jitsu.toml";

/// The configuration of a node without a card, or whose card has none.
const DEFAULT_CONFIGURATION: &str = "/etc/jitsu.toml";

/// Threads for what waits: builds above all. More at once take as long, and memory besides; what is too many waits
/// its turn.
const BLOCKING_THREADS: usize = 16;

/// File descriptors for which there is room from the start: a guest takes a handful.
const MOST_DESCRIPTORS: rlim_t = 4096;

/// RFC 1035, section 4.2.
const DNS_PORT: u16 = 53;

/// Requests that may wait to be looked at; more are told that the node is busy.
const REQUESTS: usize = 512;

/// Below [`RUN`]: leases, and the log on its way to the next daemon.
const LEASES: &str = "leases";
const LOG: &str = "log";

fn main() -> ExitCode {
    // The same executable under another name.
    let name = std::env::args_os().next().map(PathBuf::from);
    if name.as_deref().and_then(Path::file_name).is_some_and(|name| name == "jitsuctl") {
        return jitsud::ctl::run(std::env::args_os());
    }
    let started = Moment::now();
    let (file, succession) = match arguments() {
        Ok(Some(arguments)) => arguments,
        Ok(None) => {
            println!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        Err(message) => {
            eprintln!("jitsud: {message}\n\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    if let Err(error) = reserve_descriptors() {
        eprintln!("jitsud: no room for file descriptors can be made in advance: {error}");
    }
    let log = Log::begin();
    // Threads that build domains are kept: starting one takes longer than many a build.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(BLOCKING_THREADS)
        .thread_keep_alive(Duration::from_secs(24 * 60 * 60))
        .build();
    let result =
        runtime.map_err(Into::into).and_then(|runtime| runtime.block_on(run(file, started, log, succession)));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{}", chain(&*error));
            ExitCode::FAILURE
        }
    }
}

/// Has the kernel make its table of this process's files as long as it may become, by using the last place once. Later,
/// with other threads, whoever opens a file that finds the table full waits for a grace period of RCU, many milliseconds
/// in which nothing is started (`fs/file.c`, `expand_fdtable`).
fn reserve_descriptors() -> nix::Result<()> {
    let (limit, _) = getrlimit(Resource::RLIMIT_NOFILE)?;
    let last = limit.min(MOST_DESCRIPTORS).saturating_sub(1);
    let copy = fcntl(std::io::stderr(), FcntlArg::F_DUPFD_CLOEXEC(last as i32))?;
    close(copy)
}

/// The file that was named, if any, and what the daemon before has left; `None` when help was asked for.
fn arguments() -> Result<Option<(Option<PathBuf>, Succession)>, String> {
    let mut arguments = std::env::args_os().skip(1);
    let (mut file, mut succession) = (None, Succession::default());
    while let Some(argument) = arguments.next() {
        match argument.to_str() {
            Some("--help" | "-h") => return Ok(None),
            Some("--config") => file = Some(arguments.next().ok_or("--config needs a file")?.into()),
            Some(succession::OPTION) => {
                let list = arguments.next().and_then(|list| list.into_string().ok());
                let list = list.ok_or_else(|| format!("{} needs a list", succession::OPTION))?;
                succession = Succession::inherit(&list)?;
            }
            _ => return Err(format!("{} is not known", argument.display())),
        }
    }
    Ok(Some((file, succession)))
}

async fn run(
    file: Option<PathBuf>,
    started: Moment,
    log: Log,
    succession: Succession,
) -> Result<(), Box<dyn std::error::Error>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::spawn(hand_over(signal(SignalKind::hangup())?));
    if succession.is_heir() {
        succession::hear_signals()?;
        log.ring().restore(&Path::new(RUN).join(LOG));
    }
    // First of all, since dom0's kernel waits for its XenStore.
    let (toolstack, estate) = Toolstack::connect()?;

    let parameters = Parameters::of_this_boot();
    let mut led = Led::new(parameters.led.as_deref());
    led.show(Signal::Starting);
    let card = Card::open(&parameters).await;
    // A file that was named is used instead of the one on the card.
    let folder = card.as_ref().and_then(Card::boot).filter(|_| file.is_none());
    let named = file.clone();
    let shipped = file.unwrap_or_else(|| DEFAULT_CONFIGURATION.into());
    let draft = match config::load(folder, &shipped) {
        Ok(draft) => draft,
        Err(Unusable(problems)) => {
            for problem in &problems {
                tracing::error!("{problem}");
            }
            led.show(Signal::Failed);
            if let Some(card) = &card {
                card.settle().await;
                card.report(&problems).await;
            }
            tracing::error!("nothing can run until the file is mended; then send SIGTERM to start anew");
            terminate.recv().await;
            return Err("the configuration cannot be used".into());
        }
    };
    log.set_level(draft.node.log);
    let Some((network, addresses, loaded)) = (tokio::select! {
        up = come_up(draft) => Some(up?),
        _ = terminate.recv() => None,
        _ = interrupt.recv() => None,
    }) else {
        return Ok(());
    };

    // From here on nothing waits.
    let clock = Clock::default();
    let boot = Boot { jitsud_started_ns: Some(started.0), ..Boot::of(&parameters) };
    let card_and_clock = (card.clone(), clock.clone());
    let mut core =
        Core::start(toolstack.clone(), estate, loaded, &network, boot, card_and_clock, &succession).await?;
    let config = core.loaded().config.clone();
    let problems = core.loaded().problems.clone();
    tokio::spawn(network.run(core.bridges(), core.vif_reports()));

    let address = config.node.address;
    let sockets = dns::Sockets::everywhere(DNS_PORT, &succession)
        .map_err(|error| at(format!("DNS, port {DNS_PORT}"), &error))?;
    let http = TcpListener::from_std(tcp_listener(&succession, (address, 80).into())?)?;
    let control = control_socket(&succession)?;
    succession.settle();
    let (summoner, requests) = Summoner::new(REQUESTS);
    let visible = summoner.clone();
    let shutdown = CancellationToken::new();
    let upstreams = addresses::upstreams(&config.node, addresses.lease.as_ref());
    let forwarder = upstreams.map(|upstreams| Forwarder::new(&upstreams, summoner.dns_counters()));
    let zone = Arc::new(dns::Zone::new(&config)?.forwarding(forwarder.clone()));
    let limits = Arc::new(dns::Limits::new(&config.node, random::secret(), summoner.dns_counters()));
    let front = Arc::new(dns::Front::new(zone, summoner.clone(), limits.clone()));
    let dns = tokio::spawn(front.serve(sockets, shutdown.clone()));
    let status = tokio::spawn(status::serve(http, summoner, shutdown.clone()));
    let (reload, orders) = mpsc::channel(1);
    let desk = Desk {
        summoner: visible.clone(),
        services: config.services.iter().map(|service| service.name.clone()).collect(),
        log: log.ring().clone(),
        store: Some(toolstack.store()),
        reload,
    };
    let control = tokio::spawn(control::serve(control, desk, shutdown.clone()));
    let wanted = Arc::new(Notify::new());
    let reloading = Reloading {
        card: card.clone().filter(|_| named.is_none()),
        shipped,
        node: config.node.addressing(),
        given: addresses.given.clone(),
        services: config.services.clone(),
        summoner: visible.clone(),
        begin: wanted.clone(),
    };
    tokio::spawn(reloading.run(orders));
    let mdns = config.node.mdns.then(|| {
        let socket = mdns::Socket::open(&config.node.bridge, address)
            .inspect_err(|error| tracing::warn!("nothing is announced on the link: {error}"));
        let (config, summoner, shutdown) = (config.clone(), visible.clone(), shutdown.clone());
        socket.map(|socket| tokio::spawn(mdns::serve(socket, config, summoner, limits, shutdown)))
    });
    core.dns_answers();
    toolstack.is_sound();
    tracing::info!(%address, domain = config.node.domain, services = config.services.len(), "ready");
    led.show(Signal::Ready);
    tokio::spawn({
        let (clock, sources) = (clock.clone(), addresses.time_sources(&config.node));
        async move { clock.keep(sources.servers, sources.resolvers).await }
    });
    if let Some(server) = config.node.syslog {
        tokio::spawn(syslog::send(log.ring().clone(), server, config.node.name.clone(), clock.clone()));
    }
    tokio::spawn(afterwards::attend(card, clock, problems, visible));

    let stop = shutdown.clone();
    tokio::spawn(async move {
        let moved = async {
            match addresses.keeper {
                Some(keeper) => {
                    let told = |lease: &Lease| {
                        let upstreams = addresses::upstreams(&config.node, Some(lease));
                        if let (Some(forwarder), Some(upstreams)) = (&forwarder, upstreams) {
                            forwarder.replace_upstreams(&upstreams);
                        }
                    };
                    keeper.run(told).await
                }
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            why = moved => tracing::warn!("{why}: the daemon ends all services and starts anew"),
        }
        stop.cancel();
    });
    let begin = Box::new(move || begin_anew(named.as_deref(), &log, &succession));
    core.run(requests, shutdown, Heir { wanted, begin }).await;
    dns.await?;
    status.await?;
    control.await?;
    if let Some(Ok(mdns)) = mdns {
        mdns.await?;
    }
    Ok(())
}

/// Puts another daemon in this one's place. Returns only if that cannot be, and says why.
fn begin_anew(file: Option<&Path>, log: &Log, succession: &Succession) -> io::Error {
    if let Err(error) = log.ring().save(&Path::new(RUN).join(LOG)) {
        tracing::warn!(%error, "the log cannot be handed on");
    }
    let file = file.map(|file| [OsString::from("--config"), file.into()]);
    succession.begin_anew(&file.into_iter().flatten().collect::<Vec<_>>())
}

fn tcp_listener(succession: &Succession, address: SocketAddr) -> io::Result<net::TcpListener> {
    let open = || {
        let socket = net::TcpListener::bind(address)?;
        socket.set_nonblocking(true)?;
        Ok(socket)
    };
    succession.take_or(&format!("tcp/{address}"), open).map_err(|error| at(format!("TCP {address}"), &error))
}

fn control_socket(succession: &Succession) -> io::Result<UnixListener> {
    let open = || socket::listen(Path::new(SOCKET))?.into_std();
    UnixListener::from_std(succession.take_or("control", open)?)
}

fn at(what: String, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{what}: {error}"))
}

/// Ends the daemon at SIGHUP as it is, for the next one to take everything over: that has read the configuration
/// anew, and may be of another version.
async fn hand_over(mut hangup: Signals) {
    hangup.recv().await;
    tracing::info!("SIGHUP: services run on, and the next daemon takes them over");
    std::process::exit(0);
}

/// The network, and everybody's address. With DHCP it takes as long as it takes, so that what is wrong with the file
/// is told before.
async fn come_up(mut draft: Draft) -> Result<(Network, Addresses, Loaded), Box<dyn std::error::Error>> {
    let interfaces = Interfaces::find().await?;
    draft.fit(&interfaces.list());
    for problem in draft.problems() {
        tracing::warn!("{problem}");
    }
    let told = draft.problems().to_vec();
    if let Err(error) = sethostname(&draft.node.name) {
        tracing::warn!(%error, "the host name cannot be set");
    }
    let (bridge, uplink) = (&draft.node.bridge, draft.node.uplink.as_deref());
    let mut network = Network::set_up(interfaces, bridge, uplink, &draft.other_bridges()).await?;
    let leases = KeptLeases::open(&Path::new(RUN).join(LEASES));
    let addresses = addresses::obtain(&mut network, &draft, leases).await?;
    let loaded = draft.resolve(addresses.node, &addresses.given, addresses::PATIENCE);
    for problem in loaded.problems.iter().filter(|problem| !told.contains(problem)) {
        tracing::warn!("{problem}");
    }
    Ok((network, addresses, loaded))
}
