//! The log for a syslog server: RFC 5424's messages, one in each UDP datagram (RFC 5426).
//!
//! It reads along in the [`Ring`] like anybody else. So nothing waits for it, what it cannot send in time is lost and
//! counted, and it says nothing itself that would have to be sent.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use syslog_fmt::v5424::{Config, Formatter, Timestamp};
use syslog_fmt::{Facility, Severity};
use time::OffsetDateTime;
use tokio::net::UdpSocket;
use tokio::time::sleep;

use super::{Line, Ring};
use crate::clock::Clock;
use crate::config::LogLevel;
use crate::directory::Moment;
use crate::text::shortened;

/// The port for it (RFC 5426, section 3.3).
pub const PORT: u16 = 514;

/// Longest text of a message, in bytes: with what stands before it, it goes into one frame (RFC 5426, section 3.2).
const LONGEST: usize = 1200;

/// Lines taken from the ring at a time.
const BATCH: usize = 32;

/// Pause after a failure, such as a network that is not there yet; doubled with each further one.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// Sends all that is in the ring to `server`, and what comes, for as long as it is polled.
pub async fn send(ring: Ring, server: SocketAddr, host: String, clock: Clock) {
    let any: SocketAddr = match server {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let format = Config {
        facility: Facility::Daemon,
        hostname: Some(&host),
        app_name: Some("jitsud"),
        proc_id: Some(&std::process::id().to_string()),
    }
    .into_formatter();
    let (mut last, mut sent) = (ring.last(), 0);
    let (mut socket, mut pause) = (None, FIRST_PAUSE);
    loop {
        last.mark_unchanged();
        for line in ring.after(sent, BATCH) {
            if line.number > sent + 1 && sent > 0 {
                let gone = lost(&line, line.number - sent - 1);
                deliver(&mut socket, any, server, &message(&format, &gone, &clock), &mut pause).await;
            }
            sent = line.number;
            deliver(&mut socket, any, server, &message(&format, &line, &clock), &mut pause).await;
        }
        if ring.after(sent, 1).is_empty() && last.changed().await.is_err() {
            return;
        }
    }
}

/// Sends a message; if that fails, it is lost, and the next one waits a little.
async fn deliver(
    socket: &mut Option<UdpSocket>,
    any: SocketAddr,
    server: SocketAddr,
    message: &[u8],
    pause: &mut Duration,
) {
    if socket.is_none() {
        *socket = UdpSocket::bind(any).await.ok();
    }
    if let Some(open) = socket
        && open.send_to(message, server).await.is_ok()
    {
        *pause = FIRST_PAUSE;
        return;
    }
    *socket = None;
    sleep(*pause).await;
    *pause = (2 * *pause).min(LONGEST_PAUSE);
}

/// Says that lines were gone before they could be sent.
fn lost(next: &Line, count: u64) -> Line {
    let message = format!("{count} lines of the log are lost: there were more than could be sent");
    Line { number: next.number - 1, level: LogLevel::Warn, message, fields: Vec::new(), ..*next }
}

/// One message. The node's fields are in its text: names of one's own in the structured data take a number from IANA.
fn message(format: &Formatter, line: &Line, clock: &Clock) -> Vec<u8> {
    let severity = match line.level {
        LogLevel::Error => Severity::Err,
        LogLevel::Warn => Severity::Warning,
        LogLevel::Info => Severity::Info,
        LogLevel::Debug => Severity::Debug,
    };
    // What the clock says before it has been set is no time (section 6.2.3).
    let time = clock.status().unix_s.is_some().then(|| timestamp(line));
    let time = Timestamp::PreformattedStr(time.as_deref().unwrap_or("-"));
    // Both as section 7.3 has them: the number begins anew beyond 31 bits, the time is in hundredths of a second.
    let number = (line.number.saturating_sub(1) % 0x7fff_ffff + 1).to_string();
    let uptime = (line.at_ns / 10_000_000).to_string();
    let meta = [("meta", [("sequenceId", number.as_str()), ("sysUpTime", uptime.as_str())])];
    let text = shortened(line.to_string(), LONGEST);
    let mut message = Vec::with_capacity(2 * text.len());
    // Writing to memory does not fail.
    let _ = format.write_with_data(&mut message, severity, time, text.as_str(), None, meta);
    message
}

/// When the line was written, by the clock as it goes now.
fn timestamp(line: &Line) -> String {
    let age = Duration::from_nanos(Moment::now().0.saturating_sub(line.at_ns));
    let at = OffsetDateTime::now_utc() - age;
    let (date, time) = (at.date(), at.time());
    format!(
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:06}Z",
        date.year(),
        u8::from(date.month()),
        date.day(),
        time.hour(),
        time.minute(),
        time.second(),
        time.microsecond()
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::timeout;

    const LONG: Duration = Duration::from_secs(20);

    fn line(message: &str) -> Line {
        let fields = vec![("service".to_owned(), "www".to_owned())];
        Line { number: 0, at_ns: 1_230_000_000, level: LogLevel::Warn, message: message.to_owned(), fields }
    }

    async fn receive(server: &UdpSocket) -> String {
        let mut buffer = [0; 2048];
        let (length, _) =
            timeout(LONG, server.recv_from(&mut buffer)).await.expect("in time").expect("received");
        String::from_utf8(buffer[..length].to_vec()).expect("text")
    }

    #[tokio::test]
    async fn lines_arrive_as_the_standard_has_them() {
        let server = UdpSocket::bind("127.0.0.1:0").await.expect("a socket");
        let ring = Ring::default();
        ring.push(line("before it began"));
        let to = server.local_addr().expect("an address");
        let sender = tokio::spawn(send(ring.clone(), to, "node".into(), Clock::default()));
        let (process, bom) = (std::process::id(), '\u{feff}');
        for (number, text) in [(1, "before it began"), (2, "off → failed")] {
            if number == 2 {
                ring.push(line(text));
            }
            // Facility 3 (daemon) and severity 4 (warning), section 6.2.1; no clock has been set, section 6.2.3.
            let head =
                format!("<28>1 - node jitsud {process} - [meta sequenceId=\"{number}\" sysUpTime=\"123\"] ");
            let received = receive(&server).await;
            let rest = received.strip_prefix(&head).unwrap_or_else(|| panic!("{received:?}"));
            assert_eq!(rest.trim_start_matches(bom), format!("{text} service=www"));
        }
        sender.abort();
    }

    #[tokio::test]
    async fn what_comes_too_fast_is_lost_and_counted() {
        let server = UdpSocket::bind("127.0.0.1:0").await.expect("a socket");
        let ring = Ring::default();
        ring.push(line("first"));
        let to = server.local_addr().expect("an address");
        let sender = tokio::spawn(send(ring.clone(), to, "node".into(), Clock::default()));
        assert!(receive(&server).await.contains("first"));
        // In one go: the sender has no turn meanwhile.
        (0..10_000).for_each(|_| ring.push(line("too many")));
        let kept = ring.after(0, usize::MAX).len();
        let told = receive(&server).await;
        assert!(told.contains(&format!("{} lines of the log are lost", 10_000 - kept)), "{told}");
        sender.abort();
    }
}
