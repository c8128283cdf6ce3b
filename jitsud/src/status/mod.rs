//! The node's HTTP port: what it is doing, for people and programs. Read-only.
//!
//! | path                              | answer                                                    |
//! |-----------------------------------|-----------------------------------------------------------|
//! | `/`, `/service/NAME`              | pages for people (`page/`)                                |
//! | `/changes`, `/service/NAME/changes` | tells such a page when it is out of date (`follow.rs`)  |
//! | `/status`                         | [`crate::schema::NodeStatus`] as JSON                     |
//! | `/metrics`                        | figures for Prometheus (`metrics.rs`)                     |
//! | `/healthz`                        | `ok` as long as the server runs and the core answers      |
//!
//! DNS has the same thread, and nothing that is asked here may keep it waiting. So there is one request per connection;
//! connections, what is kept for them, the size of a request's head and the time for it and for the whole exchange are
//! bounded (`places.rs`); and answers are made one at a time, with a pause after each that is some times as long as it took.
//! Bodies of requests are never read.

mod follow;
mod metrics;
mod page;
mod places;
#[cfg(test)]
mod tests;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::header::{
    ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, HeaderValue, REFERRER_POLICY,
    RETRY_AFTER, X_CONTENT_TYPE_OPTIONS,
};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use nix::sys::socket::{setsockopt, sockopt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Mutex, MutexGuard};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::listener::Listener;
use crate::schema::NodeStatus;
use crate::summoner::{ServiceId, Summoner};
use places::{Place, Places};

/// Connections that the kernel may hand over at a time; those beyond [`places::MOST`] are about to end.
const MOST_ACCEPTED: usize = 2 * places::MOST;
/// Longest head of a request in bytes; hyper takes no less.
const MAX_HEAD: usize = 8192;
/// Time for the head of a request.
const HEAD_PATIENCE: Duration = Duration::from_secs(5);
/// Time for request and answer together, but for who follows the node.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long a client may be gone without a word before its connection ends, in seconds and in milliseconds.
const KEEP_ALIVE_S: u32 = 30;
const GONE_MS: u32 = 60_000;
/// After an answer has been made there is a pause of so many times as long: making them takes a fifth of the time at most.
const REST: u32 = 4;

const TEXT: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json";
const HTML: &str = "text/html; charset=utf-8";

type Body = UnsyncBoxBody<Bytes, Infallible>;

/// What all connections share.
#[derive(Clone)]
struct Faces {
    summoner: Summoner,
    /// When the next answer may be made; locked while one is.
    next: Arc<Mutex<Instant>>,
}

/// The right to make an answer: one at a time, and none for a while afterwards.
struct Turn<'a> {
    next: MutexGuard<'a, Instant>,
    begun: Instant,
}

/// Answers until `shutdown`; then exchanges in progress are dropped.
///
/// Nothing that arrives can end it: errors are logged, and cost one connection.
pub async fn serve(listener: TcpListener, summoner: Summoner, shutdown: CancellationToken) {
    let listener = Listener::new(listener, MOST_ACCEPTED, "status");
    let faces = Faces { summoner, next: Arc::new(Mutex::new(Instant::now())) };
    let _cancelled = shutdown.run_until_cancelled(serve_all(&listener, &faces)).await;
}

async fn serve_all(listener: &Listener, faces: &Faces) {
    let (places, mut tasks) = (Places::default(), JoinSet::new());
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Some((stream, peer, permit)) = accepted else { return };
                let Some(place) = places.take(peer.ip()) else { continue };
                let faces = faces.clone();
                tasks.spawn(async move {
                    let _permit = permit;
                    attend(stream, peer, place, faces).await;
                });
            }
            Some(ended) = tasks.join_next() => {
                if let Err(error) = ended {
                    tracing::error!("status: a task ended badly: {error}");
                }
            }
        }
    }
}

/// Serves one connection for as long as it keeps its place.
async fn attend(stream: TcpStream, peer: SocketAddr, place: Place, faces: Faces) {
    let place = &Arc::new(place);
    let out_of_patience = async {
        sleep(PATIENCE).await;
        if place.follows() {
            std::future::pending().await
        }
    };
    tokio::select! {
        ended = exchange(stream, Arc::clone(place), faces) => if let Err(error) = ended {
            tracing::debug!(%peer, "status: {error}");
        },
        () = place.lost() => tracing::debug!(%peer, "status: its place was needed"),
        () = out_of_patience => tracing::debug!(%peer, "status: the client is too slow"),
    }
}

async fn exchange(stream: TcpStream, place: Arc<Place>, faces: Faces) -> hyper::Result<()> {
    // Who follows the node says nothing for long; the kernel finds out whether it is still there.
    let watched = setsockopt(&stream, sockopt::KeepAlive, &true)
        .and_then(|()| setsockopt(&stream, sockopt::TcpKeepIdle, &KEEP_ALIVE_S))
        .and_then(|()| setsockopt(&stream, sockopt::TcpUserTimeout, &GONE_MS));
    if let Err(error) = watched {
        tracing::debug!("status: the kernel does not watch a connection: {error}");
    }
    let service = service_fn(|request: Request<Incoming>| {
        let (place, faces) = (Arc::clone(&place), faces.clone());
        async move { Ok::<_, Infallible>(faces.answer(request.method(), request.uri().path(), &place).await) }
    });
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_PATIENCE)
        .max_buf_size(MAX_HEAD)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service)
        .await
}

/// What is asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Asked<'a> {
    Page(Option<&'a str>),
    Changes(Option<&'a str>),
    Status,
    Metrics,
    Health,
}

/// `None` for paths that there are not. Names of services have nothing that would be escaped.
fn asked(path: &str) -> Option<Asked<'_>> {
    Some(match path {
        "/" => Asked::Page(None),
        "/changes" => Asked::Changes(None),
        "/status" => Asked::Status,
        "/metrics" => Asked::Metrics,
        "/healthz" => Asked::Health,
        _ => match path.strip_prefix("/service/")?.split_once('/') {
            None => Asked::Page(path.strip_prefix("/service/")),
            Some((name, "changes")) => Asked::Changes(Some(name)),
            Some(_) => return None,
        },
    })
}

impl Faces {
    async fn answer(&self, method: &Method, path: &str, place: &Place) -> Response<Body> {
        place.ask();
        let Some(asked) = asked(path) else {
            let text = "there is /, /service/NAME, /status, /metrics and /healthz\n";
            return response(StatusCode::NOT_FOUND, TEXT, text);
        };
        // hyper leaves out the body of an answer to HEAD.
        if method != Method::GET && method != Method::HEAD {
            let mut refusal = response(StatusCode::METHOD_NOT_ALLOWED, TEXT, "this port is read-only\n");
            refusal.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            return refusal;
        }
        let made = match asked {
            Asked::Changes(name) => return self.changes(name, place).await,
            // Closed when the core is gone.
            Asked::Health => {
                self.summoner.changes().has_changed().ok().map(|_| response(StatusCode::OK, TEXT, "ok\n"))
            }
            _ => self.make(asked).await,
        };
        let answer = made.unwrap_or_else(|| {
            let mut refusal = response(StatusCode::SERVICE_UNAVAILABLE, TEXT, "the node is shutting down\n");
            refusal.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("5"));
            refusal
        });
        let bytes = hyper::body::Body::size_hint(answer.body()).lower();
        place.answer(usize::try_from(bytes).unwrap_or(usize::MAX));
        answer
    }

    /// Makes an answer of the node's state, when it is its turn; `None` when the core is gone.
    async fn make(&self, asked: Asked<'_>) -> Option<Response<Body>> {
        let _turn = self.turn().await;
        let seen = *self.summoner.changes().borrow();
        let status = self.summoner.status().await?;
        Some(match asked {
            Asked::Page(None) => html(StatusCode::OK, page::node(&status, seen)),
            Asked::Page(Some(name)) => match position(&status, name) {
                Some(id) => {
                    let service = &status.services[id.0];
                    // Of many guests the status has fewer lines.
                    let console = self.summoner.console(id).await.map(|console| console.said().lines);
                    let console = console.as_ref().unwrap_or(&service.console);
                    html(StatusCode::OK, page::service(&status, service, console, seen))
                }
                None => html(StatusCode::NOT_FOUND, page::unknown(&status, seen)),
            },
            Asked::Metrics => response(StatusCode::OK, metrics::MEDIA_TYPE, metrics::text(&status)),
            _ => json(&status),
        })
    }

    /// Waits for the turn to make an answer.
    async fn turn(&self) -> Turn<'_> {
        let next = self.next.lock().await;
        sleep_until(*next).await;
        Turn { next, begun: Instant::now() }
    }

    async fn changes(&self, name: Option<&str>, place: &Place) -> Response<Body> {
        let service = match name {
            None => None,
            Some(name) => {
                let _turn = self.turn().await;
                match self.summoner.status().await.and_then(|status| position(&status, name)) {
                    Some(id) => Some(id),
                    None => return response(StatusCode::NOT_FOUND, TEXT, "there is no such service\n"),
                }
            }
        };
        if !place.follow() {
            let text = "enough clients are told of changes already\n";
            return response(StatusCode::SERVICE_UNAVAILABLE, TEXT, text);
        }
        let body = follow::events(self.summoner.clone(), service);
        with_headers(StatusCode::OK, follow::MEDIA_TYPE, body.boxed_unsync())
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        *self.next = Instant::now() + self.begun.elapsed() * REST;
    }
}

/// Which service has that name.
fn position(status: &NodeStatus, name: &str) -> Option<ServiceId> {
    status.services.iter().position(|service| service.name == name).map(ServiceId)
}

fn html(code: StatusCode, text: String) -> Response<Body> {
    let mut page = response(code, HTML, text);
    let headers = page.headers_mut();
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(page::SECURITY_POLICY));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    page
}

fn json(status: &NodeStatus) -> Response<Body> {
    match serde_json::to_vec_pretty(status) {
        Ok(json) => response(StatusCode::OK, JSON, json),
        Err(error) => {
            tracing::error!("status: cannot be written as JSON: {error}");
            response(StatusCode::INTERNAL_SERVER_ERROR, TEXT, "the status cannot be written as JSON\n")
        }
    }
}

fn response(code: StatusCode, kind: &'static str, body: impl Into<Bytes>) -> Response<Body> {
    with_headers(code, kind, Full::new(body.into()).boxed_unsync())
}

fn with_headers(code: StatusCode, kind: &'static str, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = code;
    let headers: [(HeaderName, &'static str); 3] =
        [(CONTENT_TYPE, kind), (CACHE_CONTROL, "no-store"), (X_CONTENT_TYPE_OPTIONS, "nosniff")];
    for (name, value) in headers {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}
