//! Tells clients that something has changed, as Server-Sent Events (WHATWG HTML, section 9.2).
//!
//! An event says nothing but a number: which change the node is up to, and how often the guest has said something since.
//! The client asks for the page again when it has another one. Changes that come faster than a client is told are told
//! as one; nothing is kept for clients that do not read.

use std::convert::Infallible;
use std::time::Duration;

use futures_util::stream::{Stream, unfold};
use http_body_util::StreamBody;
use hyper::body::{Bytes, Frame};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use crate::console::Follower;
use crate::summoner::{ServiceId, Summoner};

/// Least time between two events for one client.
const PACE: Duration = Duration::from_millis(200);

/// The media type of events.
pub const MEDIA_TYPE: &str = "text/event-stream";

/// Everything that one client is told.
struct Following {
    summoner: Summoner,
    changes: watch::Receiver<u64>,
    /// Whose console is shown, and it.
    console: Option<(ServiceId, Option<Follower>)>,
    /// How often the guest has said something since the last change.
    said: u64,
    next: Option<Instant>,
}

/// The events for a client that looks at the node's page, or that of a service: the first at once. They end with the node.
pub fn events(
    summoner: Summoner,
    service: Option<ServiceId>,
) -> StreamBody<impl Stream<Item = Result<Frame<Bytes>, Infallible>> + Send> {
    let changes = summoner.changes();
    let following =
        Following { summoner, changes, console: service.map(|id| (id, None)), said: 0, next: None };
    StreamBody::new(unfold(following, |mut following| async {
        let event = following.next().await?;
        Some((Ok(Frame::data(event)), following))
    }))
}

impl Following {
    async fn next(&mut self) -> Option<Bytes> {
        let first = self.next.is_none();
        if let Some(at) = self.next {
            self.change().await?;
            sleep_until(at).await;
        }
        let serial = *self.changes.borrow_and_update();
        self.next = Some(Instant::now() + PACE);
        Some(
            match (first, self.said) {
                (true, _) => format!("retry: 2000\ndata: {serial}\n\n"),
                (false, 0) => format!("data: {serial}\n\n"),
                (false, said) => format!("data: {serial}.{said}\n\n"),
            }
            .into(),
        )
    }

    /// Waits for something new; `None` when there will be nothing any more.
    async fn change(&mut self) -> Option<()> {
        if let Some((service, console @ None)) = &mut self.console {
            *console = self.summoner.console(*service).await;
        }
        let console = self.console.as_mut().and_then(|(_, console)| console.as_mut());
        let said = async {
            let more = match console {
                Some(console) => console.more().await,
                None => false,
            };
            // When it says nothing any more, a change of its state follows.
            if !more {
                std::future::pending::<()>().await;
            }
        };
        tokio::select! {
            changed = self.changes.changed() => {
                changed.ok()?;
                self.said = 0;
                // It may be another guest by now.
                if let Some((_, console)) = &mut self.console {
                    *console = None;
                }
            }
            () = said => self.said += 1,
        }
        Some(())
    }
}
