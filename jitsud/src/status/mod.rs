//! The node's HTTP port: what it is doing, for programs and people. Read-only.
//!
//! | path       | answer                                                        |
//! |------------|---------------------------------------------------------------|
//! | `/status`  | [`crate::schema::NodeStatus`] as JSON                         |
//! | `/healthz` | `ok` as long as the server runs                               |
//! | `/`        | a page that links the above                                   |
//!
//! One request per connection, as nobody asks often. Bounded: connections, the size of a request's head, the
//! time for it and for the whole exchange. Bodies of requests are never read.

#[cfg(test)]
mod tests;

use std::convert::Infallible;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::listener::Listener;
use crate::summoner::Summoner;

/// Most connections at a time.
const MAX_CONNECTIONS: usize = 32;
/// Longest head of a request in bytes; hyper takes no less.
const MAX_HEAD: usize = 8192;
/// Time for the head of a request.
const HEAD_PATIENCE: Duration = Duration::from_secs(5);
/// Time for request and reply together.
const PATIENCE: Duration = Duration::from_secs(30);

const TEXT: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json";
const HTML: &str = "text/html; charset=utf-8";

const PAGE: &str = "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>Jitsu node</title>\
    </head><body><h1>Jitsu node</h1><p><a href=\"/status\">Status</a> (JSON)</p></body></html>\n";

/// Answers until `shutdown`; then exchanges in progress are dropped.
///
/// Nothing that arrives can end it: errors are logged, and cost one connection.
pub async fn serve(listener: TcpListener, summoner: Summoner, shutdown: CancellationToken) {
    let listener = Listener::new(listener, MAX_CONNECTIONS, "status");
    let _cancelled = shutdown.run_until_cancelled(serve_all(&listener, &summoner)).await;
}

async fn serve_all(listener: &Listener, summoner: &Summoner) {
    let mut tasks = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Some((stream, peer, permit)) = accepted else { return };
                let summoner = summoner.clone();
                tasks.spawn(async move {
                    let _permit = permit;
                    match timeout(PATIENCE, exchange(stream, summoner)).await {
                        Ok(Ok(())) => {}
                        Ok(Err(error)) => tracing::debug!(%peer, "status: {error}"),
                        Err(_elapsed) => tracing::debug!(%peer, "status: the client is too slow"),
                    }
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

async fn exchange(stream: TcpStream, summoner: Summoner) -> hyper::Result<()> {
    let service = service_fn(|request: Request<Incoming>| {
        let summoner = summoner.clone();
        async move { Ok::<_, Infallible>(answer(request.method(), request.uri().path(), &summoner).await) }
    });
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_PATIENCE)
        .max_buf_size(MAX_HEAD)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service)
        .await
}

async fn answer(method: &Method, path: &str, summoner: &Summoner) -> Response<Full<Bytes>> {
    if !matches!(path, "/" | "/status" | "/healthz") {
        return response(StatusCode::NOT_FOUND, TEXT, "there is /status and /healthz\n");
    }
    // hyper leaves out the body of a reply to HEAD.
    if method != Method::GET && method != Method::HEAD {
        let mut refusal = response(StatusCode::METHOD_NOT_ALLOWED, TEXT, "this port is read-only\n");
        refusal.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return refusal;
    }
    match path {
        "/status" => status(summoner).await,
        "/healthz" => response(StatusCode::OK, TEXT, "ok\n"),
        _ => response(StatusCode::OK, HTML, PAGE),
    }
}

async fn status(summoner: &Summoner) -> Response<Full<Bytes>> {
    let Some(status) = summoner.status().await else {
        return response(StatusCode::SERVICE_UNAVAILABLE, TEXT, "the node is shutting down\n");
    };
    match serde_json::to_vec_pretty(&status) {
        Ok(json) => response(StatusCode::OK, JSON, json),
        Err(error) => {
            tracing::error!("status: cannot be written as JSON: {error}");
            response(StatusCode::INTERNAL_SERVER_ERROR, TEXT, "the status cannot be written as JSON\n")
        }
    }
}

fn response(code: StatusCode, kind: &'static str, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = code;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
