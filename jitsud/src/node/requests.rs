//! What is asked of the core, and how the node is described to whoever asks.

use tokio::sync::oneshot;

use super::life::Life;
use super::{CONSOLE_LINES, Core, ENDED_CONSOLES, facts};
use crate::card::Card;
use crate::console::Follower;
use crate::directory::{Incarnation, Input, Moment, Ticket};
use crate::schema::{EventStatus, NodeStatus, ServiceStatus, ShellsStatus};
use crate::summoner::{Request, ServiceId, SummonError, Summoned};

impl Core {
    pub(super) fn request(&mut self, request: Request) {
        match request {
            Request::Summon { service, received, answer } => {
                let ticket = self.ticket(answer);
                self.input(Input::Summon { service, received: Moment(received), ticket });
            }
            Request::SummonForHost { instance, host, received, answer } => {
                let ticket = self.ticket(answer);
                self.input(Input::SummonForHost { instance, host, received: Moment(received), ticket });
            }
            Request::Status { answer } => {
                self.directory.take_in(Moment::now());
                let _ = answer.send(self.status());
            }
            Request::Start { service, answer } => {
                self.input(Input::Start { service });
                self.describe(service, answer);
            }
            Request::Stop { service, answer } => {
                self.input(Input::Stop { service });
                self.describe(service, answer);
            }
            Request::Service { service, answer } => self.describe(service, answer),
            Request::Events { after, answer } => {
                let newer = self.directory.events().filter(|event| event.serial > after);
                let _ = answer.send(newer.map(|event| EventStatus::new(event, &self.directory)).collect());
            }
            Request::Console { service, answer } => {
                let entry = self.directory.entries().get(service.0);
                let _ = answer.send(entry.and_then(|entry| self.console(entry.incarnation())));
            }
        }
    }

    /// What a life's guest says; what the service's last one has said if that one says nothing yet.
    pub(super) fn console(&self, incarnation: Incarnation) -> Option<Follower> {
        let ended = || self.said.iter().find(|(service, _)| *service == incarnation.service);
        let says = self.lives.get(&incarnation).and_then(Life::follow_console);
        says.or_else(|| ended().map(|(_, said)| said.clone()))
    }

    /// Keeps what an ended life's guest has said, until there are too many.
    pub(super) fn keep_console(&mut self, incarnation: Incarnation, life: &Life) {
        let Some(said) = life.follow_console() else { return };
        self.said.retain(|(service, _)| *service != incarnation.service);
        self.said.truncate(ENDED_CONSOLES - 1);
        self.said.push_front((incarnation.service, said));
    }

    /// Tells how a service is; nothing if there is no such service.
    pub(super) fn describe(&self, service: ServiceId, answer: oneshot::Sender<ServiceStatus>) {
        if let Some(entry) = self.directory.entries().get(service.0) {
            let _ = answer.send(ServiceStatus::new(entry));
        }
    }

    pub(super) fn ticket(&mut self, answer: oneshot::Sender<Result<Summoned, SummonError>>) -> Ticket {
        let ticket = Ticket(self.next_ticket);
        self.next_ticket += 1;
        self.tickets.insert(ticket, answer);
        ticket
    }

    pub(super) fn status(&self) -> NodeStatus {
        let facts = facts::gather(&self.toolstack, &self.captor, &self.boot, self.card.as_ref(), &self.clock);
        let mut problems = self.card.as_ref().map(Card::problems).unwrap_or_default();
        problems.extend_from_slice(&self.loaded.problems);
        let config = &self.loaded.config;
        let mut status = NodeStatus::new(config, &problems, &self.directory, facts, Moment::now());
        status.shells = ShellsStatus {
            wanted: self.shells.pool.wanted() as u64,
            ready: self.shells.pool.ready() as u64,
            taken: self.shells.pool.taken(),
        };
        let each = CONSOLE_LINES / self.lives.len().max(1);
        for (incarnation, life) in &self.lives {
            if let Some(service) = status.services.get_mut(incarnation.service.0) {
                let mut lines = life.console_lines();
                service.in_shell = life.in_shell;
                service.console = lines.split_off(lines.len().saturating_sub(each));
            }
        }
        status
    }
}
