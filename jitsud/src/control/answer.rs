//! What becomes of each request.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};

use super::protocol::{Command, ErrorKind, From, Reply, Said};
use super::{Client, Desk, Refusal, Reload};
use crate::console::Follower;
use crate::domain::nodes;
use crate::schema::ServiceStatus;
use crate::store::SharedStore;
use crate::summoner::ServiceId;
use crate::text::printable;

/// Lines taken from the log at a time.
const BATCH: usize = 64;

/// Who follows the node's state is told of counters, which nothing announces, after so long.
const NOW_AND_THEN: Duration = Duration::from_secs(2);

/// And is told of changes no more often than this.
const AT_MOST: Duration = Duration::from_millis(200);

/// Answers one request.
///
/// # Errors
/// The client is gone, or too slow.
pub async fn answer(command: Command, desk: &Desk, client: &mut Client) -> io::Result<()> {
    match command {
        Command::Status { follow } => status(follow, desk, client).await,
        Command::Start { service } => match desk.find(&service) {
            Some(id) => start(id, desk, client).await,
            None => client.unknown(&service, desk).await,
        },
        Command::Stop { service } => match desk.find(&service) {
            Some(id) => stop(id, desk, client).await,
            None => client.unknown(&service, desk).await,
        },
        Command::Logs(from) => logs(from, desk, client).await,
        Command::Console { service, from } => match desk.find(&service) {
            Some(id) => console(id, from, desk, client).await,
            None => client.unknown(&service, desk).await,
        },
        Command::Terminal { service } => match desk.find(&service) {
            Some(id) => terminal(id, &service, desk, client).await,
            None => client.unknown(&service, desk).await,
        },
        Command::Events(from) => events(from, desk, client).await,
        Command::Reload { file } => reload(file, desk, client).await,
        Command::Xenstore { path } => match &desk.store {
            Some(store) => xenstore(&path, store, client).await,
            None => client.error(ErrorKind::NotFound, "there is no XenStore here").await,
        },
    }
}

impl Desk {
    fn find(&self, name: &str) -> Option<ServiceId> {
        self.services.iter().position(|service| service == name).map(ServiceId)
    }
}

impl Client {
    async fn unknown(&mut self, service: &str, desk: &Desk) -> io::Result<()> {
        // Of what somebody has typed.
        let service = printable(service);
        let message = match desk.services.len() {
            0 => format!("there is no service {service:?}, nor any other"),
            1..=20 => format!("there is no service {service:?}; there is {}", desk.services.join(", ")),
            number => format!("there is no service {service:?} among {number}"),
        };
        self.error(ErrorKind::NotFound, message).await
    }

    async fn ending(&mut self) -> io::Result<()> {
        self.error(ErrorKind::ShuttingDown, "the daemon is ending").await
    }

    async fn lost(&mut self, count: u64) -> io::Result<()> {
        if count == 0 { Ok(()) } else { self.send(&Reply::Lost { count }).await }
    }
}

async fn status(follow: bool, desk: &Desk, client: &mut Client) -> io::Result<()> {
    let mut changes = desk.summoner.changes();
    loop {
        changes.mark_unchanged();
        let Some(status) = desk.summoner.status().await else { return client.ending().await };
        client.send(&Reply::Status(Box::new(status))).await?;
        if !follow {
            return client.done().await;
        }
        sleep(AT_MOST).await;
        if let Ok(Err(_gone)) = timeout(NOW_AND_THEN, changes.changed()).await {
            return client.ending().await;
        }
    }
}

async fn start(service: ServiceId, desk: &Desk, client: &mut Client) -> io::Result<()> {
    let Some(begun) = desk.summoner.start(service).await else { return client.ending().await };
    let settled = |state: &str| matches!(state, "ready" | "failed" | "off");
    let Some(status) = until(service, begun, settled, desk, client).await? else { return Ok(()) };
    match status.state.as_str() {
        "ready" => client.done().await,
        state => {
            let why = status.reason.unwrap_or_else(|| "somebody has stopped it".to_owned());
            client.error(ErrorKind::State, format!("{} is {state}: {why}", status.name)).await
        }
    }
}

async fn stop(service: ServiceId, desk: &Desk, client: &mut Client) -> io::Result<()> {
    let Some(begun) = desk.summoner.stop(service).await else { return client.ending().await };
    let settled = |state: &str| matches!(state, "off" | "ready" | "failed");
    let Some(status) = until(service, begun, settled, desk, client).await? else { return Ok(()) };
    match status.state.as_str() {
        "off" => client.done().await,
        state => {
            let why = status.reason.unwrap_or_else(|| "somebody has started it again".to_owned());
            client.error(ErrorKind::State, format!("{} is {state}: {why}", status.name)).await
        }
    }
}

/// Tells of each state until one is settled, and returns the service as it is then; `None` when the client has been
/// told that the daemon ends.
async fn until(
    service: ServiceId,
    begun: ServiceStatus,
    settled: impl Fn(&str) -> bool,
    desk: &Desk,
    client: &mut Client,
) -> io::Result<Option<ServiceStatus>> {
    let mut changes = desk.summoner.changes();
    let mut status = begun;
    loop {
        client.send(&Reply::Service(Box::new(status.clone()))).await?;
        if settled(&status.state) {
            return Ok(Some(status));
        }
        let told = (status.state.clone(), status.since_ns);
        loop {
            changes.mark_unchanged();
            let Some(now) = desk.summoner.service(service).await else {
                client.ending().await?;
                return Ok(None);
            };
            status = now;
            if (&status.state, status.since_ns) != (&told.0, told.1) {
                break;
            }
            if changes.changed().await.is_err() {
                client.ending().await?;
                return Ok(None);
            }
        }
    }
}

async fn logs(from: From, desk: &Desk, client: &mut Client) -> io::Result<()> {
    let mut last = desk.log.last();
    let there = *last.borrow();
    let mut told = from.begin(there);
    loop {
        last.mark_unchanged();
        let lines = desk.log.after(told, BATCH);
        if lines.is_empty() {
            if !from.follow {
                return client.done().await;
            }
            if last.changed().await.is_err() {
                return client.ending().await;
            }
        }
        for line in lines {
            if told > 0 {
                client.lost(line.number - told - 1).await?;
            }
            told = line.number;
            client.send(&Reply::Line(line)).await?;
        }
    }
}

impl From {
    /// The number after which to begin, if the last one is `last`.
    fn begin(&self, last: u64) -> u64 {
        // A number of another time.
        let after = if self.after > last { 0 } else { self.after };
        self.last.map_or(after, |most| after.max(last.saturating_sub(most as u64)))
    }
}

async fn events(from: From, desk: &Desk, client: &mut Client) -> io::Result<()> {
    let mut changes = desk.summoner.changes();
    // What came before is of other daemons, perhaps, and there are gaps between theirs.
    let (mut told, mut has_told) = (from.after, false);
    let mut most = from.last;
    loop {
        changes.mark_unchanged();
        let Some(mut events) = desk.summoner.events(told).await else { return client.ending().await };
        if let Some(most) = most.take() {
            events.drain(..events.len().saturating_sub(most));
        }
        for event in events {
            if has_told {
                client.lost(event.serial - told - 1).await?;
            }
            (told, has_told) = (event.serial, true);
            client.send(&Reply::Event(event)).await?;
        }
        if !from.follow {
            return client.done().await;
        }
        if changes.changed().await.is_err() {
            return client.ending().await;
        }
    }
}

/// Of one life after the other.
async fn console(service: ServiceId, from: From, desk: &Desk, client: &mut Client) -> io::Result<()> {
    let mut changes = desk.summoner.changes();
    let mut told: Option<Follower> = None;
    loop {
        changes.mark_unchanged();
        let console = desk.summoner.console(service).await;
        let is_told = |console: &Follower| told.as_ref().is_some_and(|told| told.is_same(console));
        if let Some(console) = console.filter(|console| !is_told(console)) {
            let all = From { follow: true, ..From::default() };
            read_along(console.clone(), if told.is_none() { from } else { all }, client).await?;
            told = Some(console);
        } else if !from.follow {
            let name = &desk.services[service.0];
            let message = format!("{name} has had no guest lately that could have said anything");
            return client.error(ErrorKind::State, message).await;
        }
        if !from.follow {
            return client.done().await;
        }
        // The next one's comes with the service's next state.
        if changes.changed().await.is_err() {
            return client.ending().await;
        }
    }
}

/// Tells what a guest says, to its end if it is followed.
async fn read_along(mut follower: Follower, from: From, client: &mut Client) -> io::Result<()> {
    let (mut told, mut ended) = (None, false);
    loop {
        let said = follower.said();
        // A line is told when it is whole, or never will be.
        let held_back = said.unfinished && from.follow && !ended;
        let (first, count) = (u64::from(said.first), said.lines.len() - usize::from(held_back));
        let mut last = told.unwrap_or_else(|| from.begin(first - 1 + count as u64));
        if last > 0 {
            client.lost(first.saturating_sub(last + 1)).await?;
        }
        let lines = said.lines.len();
        for (index, text) in said.lines.into_iter().enumerate().take(count) {
            let number = first + index as u64;
            if number > last {
                let unfinished = said.unfinished && index + 1 == lines;
                client.send(&Reply::Said(Said { number, text, unfinished })).await?;
                last = number;
            }
        }
        told = Some(last);
        if ended || !from.follow {
            return Ok(());
        }
        ended = !follower.more().await;
    }
}

async fn terminal(service: ServiceId, name: &str, desk: &Desk, client: &mut Client) -> io::Result<()> {
    let Some(status) = desk.summoner.service(service).await else { return client.ending().await };
    let path = status.domid.zip(desk.store.as_ref()).and_then(|(domid, store)| {
        let path = nodes::console_terminal_path(xen_sys::DomId(domid));
        store.look(|store| store.read(&path).map(|value| String::from_utf8_lossy(value).into_owned()))
    });
    match path {
        Some(path) => {
            client.send(&Reply::Terminal { path: path.into() }).await?;
            client.done().await
        }
        None => {
            let message = format!("{name} is {} and has no terminal; jitsuctl start {name}", status.state);
            client.error(ErrorKind::State, message).await
        }
    }
}

async fn reload(file: Option<PathBuf>, desk: &Desk, client: &mut Client) -> io::Result<()> {
    let (answer, answered) = oneshot::channel();
    if desk.reload.try_send(Reload { file, answer }).is_err() {
        return client.error(ErrorKind::Busy, "the configuration is being read already").await;
    }
    match answered.await {
        Ok(Ok(begin)) => {
            let told = client.send(&Reply::Reloading {}).await;
            begin.cancel();
            told
        }
        Ok(Err(Refusal::Problems(problems))) => {
            let count = problems.len();
            for problem in problems {
                client.send(&Reply::Problem(problem)).await?;
            }
            let message = format!("nothing has changed: the file has {count} mistakes");
            let message =
                if count == 1 { "nothing has changed: the file has a mistake".into() } else { message };
            client.error(ErrorKind::Configuration, message).await
        }
        Ok(Err(Refusal::Failed(why))) => client.error(ErrorKind::Failed, why).await,
        Err(_gone) => client.ending().await,
    }
}

/// The node at `path` and those below it. Each is looked at for itself, so that the store waits for nobody.
async fn xenstore(path: &str, store: &SharedStore, client: &mut Client) -> io::Result<()> {
    let begin = if path == "/" { path } else { path.trim_end_matches('/') };
    let mut waiting = vec![begin.to_owned()];
    let mut found = false;
    while let Some(path) = waiting.pop() {
        let node = store.look(|store| {
            let value = String::from_utf8_lossy(store.read(&path)?).into_owned();
            let below = store.list(&path).unwrap_or_default();
            Some((value, below.into_iter().map(str::to_owned).collect::<Vec<_>>()))
        });
        let Some((value, below)) = node else { continue };
        found = true;
        let parent = path.trim_end_matches('/');
        waiting.extend(below.iter().rev().map(|name| format!("{parent}/{name}")));
        client.send(&Reply::Node { path, value: printable(&value) }).await?;
    }
    if found {
        client.done().await
    } else {
        let path = printable(path);
        client.error(ErrorKind::NotFound, format!("XenStore has no node {path:?}")).await
    }
}
