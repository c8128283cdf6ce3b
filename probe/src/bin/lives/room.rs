//! More services than there is room for.

use std::collections::VecDeque;
use std::net::TcpStream;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use probe::dns::ResponseCode;
use probe::host::now;
use probe::lives::{IDLE, KEPT_TTL, ROOMS};

use crate::node::{AT_ONCE, Node, Service, is_a_page, page, since};

/// Longer than a service must have been quiet to be ended for another.
const QUIET: Duration = Duration::from_millis(1200);
/// Time between two closed connections: more than the step in which the bridge counts.
const APART: Duration = Duration::from_millis(100);
/// One that pauses, of the same size.
const PAUSES: &str = "large";
/// One that packets do not start, of the same size.
const KEPT: &str = "roomkept";

/// Services that have a domain, those that were used least recently first.
struct House<'n> {
    node: &'n Node,
    used: VecDeque<String>,
    next: u32,
}

impl<'n> House<'n> {
    /// As many services as there is room for, of which the first one is paused.
    fn full(node: &'n Node) -> Result<Self> {
        let mut house = House { node, used: VecDeque::new(), next: 1 };
        let here: Vec<String> = house.here()?;
        ensure!(here.is_empty(), "there are {here:?} from before");
        node.visit(PAUSES)?;
        node.once(PAUSES, "paused", 5 * IDLE)?;
        house.used.push_back(PAUSES.to_owned());
        // The last one of them has found no room, and made some.
        loop {
            let next = house.next()?;
            node.visit(&next)?;
            house.used.push_back(next);
            let gone = house.gone()?;
            if !gone.is_empty() {
                ensure!(gone == [PAUSES], "{gone:?} went before the one that was paused");
                house.used.pop_front();
                return Ok(house);
            }
        }
    }

    /// Who comes next, when all have been quiet.
    fn next(&mut self) -> Result<String> {
        sleep(QUIET);
        let here = self.here()?;
        let mut names = (self.next..=ROOMS).map(|number| (number, format!("room{number}")));
        let (number, name) =
            names.find(|(_, name)| !here.contains(name)).context("give the test more services")?;
        self.next = number + 1;
        Ok(name)
    }

    /// Services of that size that have a domain.
    fn here(&self) -> Result<Vec<String>> {
        let services = self.node.status()?.services.into_iter();
        let here = services.filter(|service| service.name.starts_with("room") || service.name == PAUSES);
        Ok(here.filter(|service| service.domid.is_some()).map(|service| service.name).collect())
    }

    /// Those that should be here and are not.
    fn gone(&self) -> Result<Vec<String>> {
        let here = self.here()?;
        Ok(self.used.iter().filter(|used| !here.contains(used)).cloned().collect())
    }

    /// A service is used again.
    fn touch(&mut self, place: usize) -> Result<()> {
        let name = self.used.remove(place).context("no such place")?;
        sleep(QUIET);
        self.node.visit(&name)?;
        self.used.push_back(name);
        Ok(())
    }

    /// One more comes, in that way; this one goes for it, and nobody else.
    fn one_more(&mut self, victim: usize, come: impl Fn(&Node, &Service) -> Result<()>) -> Result<()> {
        let next = self.next()?;
        come(self.node, &self.node.service(&next)?).with_context(|| format!("starting {next}"))?;
        let victim = self.used.remove(victim).context("no such place")?;
        let (gone, here) = (self.gone()?, self.here()?);
        ensure!(
            gone.is_empty() && !here.contains(&victim) && here.contains(&next),
            "{next} has come, {victim} should go; {here:?} are here, of {:?}, least recently used first",
            self.used
        );
        self.used.push_back(next);
        Ok(())
    }
}

fn by_name(node: &Node, service: &Service) -> Result<()> {
    node.visit(&service.name).map(drop)
}

fn by_packet(node: &Node, service: &Service) -> Result<()> {
    is_a_page(&page(node.connect(service.address)?, "/")?)
}

/// Whoever was used least recently goes; but not one that has an open connection.
pub fn order(node: &Node) -> Result<String> {
    let mut house = House::full(node)?;
    let count = house.used.len();
    ensure!(count >= 4, "only {count} fit: make them smaller");
    house.one_more(0, by_name)?;
    house.one_more(0, by_packet)?;
    house.touch(0)?;
    house.touch(1)?;
    house.one_more(0, by_name)?;
    let oldest = node.connect(node.service(&house.used[0])?.address)?;
    sleep(QUIET);
    house.touch(1)?;
    house.touch(1)?;
    house.touch(1)?;
    // It is the oldest again, by far, but for its connection.
    house.one_more(1, by_packet)?;
    house.one_more(1, by_name)?;
    is_a_page(&page(oldest, "/")?)?;
    Ok(format!("{count} of a size"))
}

/// Nobody can go: a question and a packet are refused at once, and nobody suffers. Then somebody can.
pub fn full(node: &Node) -> Result<String> {
    let mut house = House { node, used: VecDeque::new(), next: 1 };
    house.used = house.here()?.into();
    if house.used.is_empty() {
        house = House::full(node)?;
    }
    let services = node.status()?.services;
    let fresh = (1..=ROOMS).rev().map(|number| format!("room{number}"));
    let [asked, met] = {
        let mut fresh = fresh.filter(|name| !house.used.contains(name));
        [fresh.next().context("no other service")?, fresh.next().context("no other service")?]
    };
    let before: Vec<&Service> =
        services.iter().filter(|service| house.used.contains(&service.name)).collect();
    let mut open: Vec<TcpStream> =
        before.iter().map(|service| node.connect(service.address)).collect::<Result<_>>()?;
    house.used = before.iter().map(|service| service.name.clone()).collect();
    sleep(QUIET);

    let begin = now()?;
    let answer = node.ask(&asked)?;
    let took = since(begin)?;
    let text = answer.extended_error.map(|(code, text)| format!("{code} {text}")).unwrap_or_default();
    ensure!(answer.code == ResponseCode::ServFail, "{asked} is answered with {}", answer.code);
    ensure!(text.starts_with("0 ") && text.contains("memory"), "the extended error is {text:?}");
    ensure!(took < AT_ONCE, "{asked} was refused after {took:?}");
    node.is_refused(&node.service(&met)?)?;
    for name in [&asked, &met] {
        let service = node.service(name)?;
        let why = service.reason.as_deref().unwrap_or_default();
        ensure!(service.state == "failed" && why.contains("memory") && service.failures == 0, "{service:?}");
    }
    for was in &before {
        let is = node.service(&was.name)?;
        ensure!((is.domid, is.starts) == (was.domid, was.starts), "it was {was:?} and is {is:?}");
    }

    // The last one that is closed is used most recently.
    while let Some(stream) = (!open.is_empty()).then(|| open.remove(0)) {
        is_a_page(&page(stream, "/")?).context("on a connection that was open all the time")?;
        sleep(APART);
    }
    sleep(QUIET);
    for name in [&asked, &met] {
        node.visit(name)?;
        let Some(victim) = house.used.pop_front() else { bail!("nobody is left") };
        let (gone, here) = (house.gone()?, house.here()?);
        ensure!(gone.is_empty() && !here.contains(&victim), "{victim} should have gone; {here:?} are here");
        house.used.push_back(name.clone());
    }
    Ok(format!("refused after {:.3} ms: {text}", took.as_secs_f64() * 1000.0))
}

/// As long as its address may be in a cache, one that packets do not start stays, though it was used least recently.
pub fn promise(node: &Node) -> Result<String> {
    let mut house = House { node, used: VecDeque::new(), next: 1 };
    house.used = house.here()?.into();
    if house.used.is_empty() {
        house = House::full(node)?;
    }
    // One of them goes.
    sleep(QUIET);
    let answer = node.ask(KEPT)?;
    let asked = now()?;
    ensure!(answer.ttl == Some(KEPT_TTL.as_secs() as u32), "it may be cached for {:?} s", answer.ttl);
    is_a_page(&page(node.connect(answer.address()?)?, "/")?)?;
    let here = house.here()?;
    house.used.retain(|used| here.contains(used));
    // From now on it is known who was used when.
    (0..house.used.len()).try_for_each(|_| house.touch(0))?;
    house.used.push_front(KEPT.to_owned());
    house.one_more(1, by_packet)?;
    house.one_more(1, by_name)?;
    let early = since(asked)?;
    ensure!(early < KEPT_TTL, "the test is too slow: {early:?}");
    sleep(KEPT_TTL - early);
    house.one_more(0, by_name)?;
    node.is_refused(&node.service(KEPT)?)?;
    Ok(String::new())
}
