//! One life of a service: its domain, the tasks that serve it, and how they end.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::mpsc::UnboundedSender;
use tokio::task::JoinSet;
use xen_sys::DomId;

use super::Report;
use crate::console::{self, ConsoleLog};
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
    /// The bridge forwards to its interface.
    pub forwarded_to: bool,
    /// What it has said.
    pub console: ConsoleLog,
    domain: Option<Domain>,
    console_page: Option<Arc<SharedPages>>,
    tasks: JoinSet<()>,
    ending: bool,
    ended: Arc<AtomicBool>,
}

impl Life {
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
            ready.exists().await;
            let _ = reports.send(Report::Ready(incarnation, Moment::now()));
        });
    }

    /// Serves the rings of a domain that has just begun to run.
    pub fn attach(
        &mut self,
        incarnation: Incarnation,
        mut domain: Domain,
        store: &SharedStore,
        reports: &UnboundedSender<Report>,
    ) {
        let domid = domain.domid;
        if let Some((page, port)) = domain.store_ring.take() {
            let (store, reports) = (store.clone(), reports.clone());
            store.with(|store| store.introduce(domid));
            self.tasks.spawn(async move {
                let error = serve_ring(store, domid, page, port, None).await;
                let _ = reports.send(Report::Broken(incarnation, chain(&error)));
            });
        }
        if let Some((page, port)) = domain.console_ring.take() {
            let page = Arc::new(page);
            self.console_page = Some(page.clone());
            let log = self.console.clone();
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
        if let Some(page) = &self.console_page {
            console::drain(page, &self.console);
        }
        self.console.last_line().unwrap_or_default()
    }
}

/// A domain that nobody uses any more; dropping it destroys it.
#[derive(Debug)]
pub struct Ended {
    domain: Option<Domain>,
    ended: Arc<AtomicBool>,
}

impl Drop for Ended {
    fn drop(&mut self) {
        drop(self.domain.take());
        self.ended.store(true, Ordering::Release);
    }
}
