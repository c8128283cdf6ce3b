//! One life of a service: its domain, the tasks that serve it, and how they end.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::mpsc::UnboundedSender;
use tokio::task::JoinSet;
use xen_sys::DomId;

use super::RUN;
use super::Report;
use crate::capture::handover;
use crate::console::{self, ConsoleLog, Follower};
use crate::directory::{Incarnation, Moment};
use crate::domain::{Domain, nodes};
use crate::store::{KeyWatch, SharedStore, serve_ring};
use crate::text::chain;
use crate::xen::SharedPages;

/// A domain and what belongs to it.
#[derive(Debug, Default)]
pub struct Life {
    /// Its number, as soon as it has one.
    pub domid: Option<DomId>,
    /// It has written its readiness key.
    pub accepts_connections: bool,
    /// The bridge forwards to its first interface.
    pub forwarded_to: bool,
    /// Its domain was made before it was known for which service.
    pub in_shell: bool,
    console: Option<ConsoleLog>,
    domain: Option<Domain>,
    console_page: Option<Arc<SharedPages>>,
    tasks: JoinSet<()>,
    ending: bool,
    ended: Arc<AtomicBool>,
}

impl Life {
    /// A domain that no service has used.
    pub fn unused(domain: Domain) -> Self {
        Life { domid: Some(domain.domid), domain: Some(domain), ..Life::default() }
    }

    /// Notes the domain's number, and reports when it is ready.
    pub fn created(
        &mut self,
        domid: DomId,
        incarnation: Incarnation,
        ready: KeyWatch,
        reports: &UnboundedSender<Report>,
    ) {
        self.domid = Some(domid);
        let reports = reports.clone();
        self.tasks.spawn(async move {
            ready.comes_true().await;
            let _ = reports.send(Report::Ready(incarnation, Moment::now()));
        });
    }

    /// Reports when the guest has taken its connections over, or has had its time for that.
    pub fn takes_over(
        &mut self,
        incarnation: Incarnation,
        taken: KeyWatch,
        reports: &UnboundedSender<Report>,
    ) {
        let reports = reports.clone();
        self.tasks.spawn(async move {
            if tokio::time::timeout(handover::PATIENCE, taken.comes_true()).await.is_err() {
                tracing::warn!(?incarnation, "the guest does not take its connections over: they are reset");
            }
            let _ = reports.send(Report::TookOver(incarnation));
        });
    }

    /// Serves the rings of a domain that has just begun to run, or that an earlier daemon has left.
    pub fn attach(&mut self, mut domain: Domain, store: &SharedStore, reports: &UnboundedSender<Report>) {
        let domid = domain.domid;
        if let Some((page, port)) = domain.store_ring.take() {
            let (store, reports) = (store.clone(), reports.clone());
            store.with(|store| store.introduce(domid));
            self.tasks.spawn(async move {
                let error = serve_ring(store, domid, page, port, None).await;
                let _ = reports.send(Report::Broken(domid, chain(&error)));
            });
        }
        if let Some((page, port)) = domain.console_ring.take() {
            let page = Arc::new(page);
            self.console_page = Some(page.clone());
            let log = ConsoleLog::open(&console_file(domid));
            self.console = Some(log.clone());
            let store = store.clone();
            let announce = move |terminal: &str| {
                if let Err(error) = store.commit(&[nodes::console_terminal(domid, terminal)]) {
                    tracing::warn!(%domid, %error, "the console's terminal cannot be told");
                }
            };
            self.tasks.spawn(console::serve(page, port, log, announce));
        }
        self.domain = Some(domain);
    }

    /// Stops serving; the returned future hands the domain over once nothing of it is in use any more.
    pub fn end(&mut self) -> impl Future<Output = Ended> + Send + use<> {
        self.ending = true;
        self.last_words();
        self.console_page = None;
        let (mut tasks, domain) = (std::mem::take(&mut self.tasks), self.domain.take());
        let ended = self.ended.clone();
        async move {
            tasks.shutdown().await;
            Ended { domain, ended }
        }
    }

    /// Whether [`Self::attach`] has been called, and [`Self::end`] not yet.
    pub fn is_attached(&self) -> bool {
        self.domain.is_some()
    }

    /// Whether [`Self::end`] has been called.
    pub fn ending(&self) -> bool {
        self.ending
    }

    /// Whether all that this process held of the domain has been let go.
    pub fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    /// What a guest said last, with what still lies in its console ring.
    pub fn last_words(&self) -> String {
        let Some(log) = &self.console else { return String::new() };
        if let Some(page) = &self.console_page {
            console::drain(page, log);
        }
        log.last_line().unwrap_or_default()
    }

    /// For whoever wants to read along what the guest says; `None` before there is anything to read.
    pub fn follow_console(&self) -> Option<Follower> {
        self.console.as_ref().map(ConsoleLog::follow)
    }

    /// What the guest has said.
    pub fn console_lines(&self) -> Vec<String> {
        self.console.as_ref().map(ConsoleLog::lines).unwrap_or_default()
    }
}

/// Where a domain's console is kept.
pub fn console_file(domid: DomId) -> PathBuf {
    Path::new(RUN).join(format!("console-{domid}"))
}

/// A domain that nobody uses any more; dropping it destroys it.
#[derive(Debug)]
pub struct Ended {
    domain: Option<Domain>,
    ended: Arc<AtomicBool>,
}

impl Drop for Ended {
    fn drop(&mut self) {
        if let Some(domain) = &self.domain {
            ConsoleLog::remove(&console_file(domain.domid));
        }
        drop(self.domain.take());
        self.ended.store(true, Ordering::Release);
    }
}
