//! The unikernel `www` with packed sites, asked by clients that others wrote: curl, h2load and ab; and by requests that
//! nobody should send. On a node of their own, from outside.

mod broken;
mod curl;
mod folder;

use super::{Report, log_file, matches};
use crate::client::{NodeSpec, RunningNode};
use crate::cross;
use crate::fail::{Class, Fail};
use crate::image::Image;
use crate::initramfs::ExtraFile;
use crate::qemu::Start;
use crate::unikernel::site_image;
use anyhow::{Context as _, Result, ensure};
use curl::Reply;
use folder::Folder;
use site::pack::Options;
use std::cell::RefCell;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::process::Command;
use std::time::Duration;

/// Longest life of the node, and longest time for a reply, wall time.
const LIMIT: Duration = Duration::from_secs(400);
const PATIENCE: Duration = Duration::from_secs(30);

/// Most bytes of the server without a site.
const LARGEST: usize = 250 << 10;

/// Services: a site, plain and compressed; and a small one in 2 MiB of memory.
const SITE: &str = "site";
const SMALL: &str = "small";

/// What the tests work with.
struct Bench {
    node: RunningNode,
    folder: Folder,
    site: SocketAddr,
    small: SocketAddr,
    note: RefCell<Option<String>>,
}

type Test = (&'static str, fn(&Bench) -> Result<()>);

/// The tests, in order. The last one sees that the guests are those that the first one started.
const TESTS: [Test; 10] = [
    ("www: every file of a packed site comes back as it is, plain and compressed", files),
    ("www: curl gets the parts of a file that it asks for", ranges),
    ("www: curl gets nothing that it has already", conditions),
    ("www: folders, missing pages and other methods are answered as curl expects", others),
    ("www: one connection serves many requests, and many that are sent at once", pipelined),
    ("www: h2load's requests all succeed, one at a time and pipelined", h2load),
    ("www: ab's requests all succeed, by HTTP/1.0 with keep-alive", ab),
    ("www: eight downloads of more than a MiB at a time, 24 in all, come back whole", downloads),
    ("www: in 2 MiB, 16 connections at once with long requests for a large file", crowded),
    ("www: 2000 broken requests, whole and in pieces, get the right answers", broken_requests),
];

/// Runs them.
pub fn run(image: &Image, filter: Option<&str>, report: &mut Report) -> Result<()> {
    let size = "www: without a site it has at most 250 KiB";
    let tests: Vec<_> = TESTS.into_iter().filter(|(name, _)| matches(name, filter)).collect();
    if tests.is_empty() && !matches(size, filter) {
        return Ok(());
    }
    let server = cross::unikernels(None)?.remove("www").context("there is no unikernel www")?;
    if matches(size, filter) {
        let note = RefCell::new(Some(format!("{} KiB", server.len().div_ceil(1024))));
        report.check_noting(size, &note, || {
            ensure!(server.len() <= LARGEST, "it has {} bytes", server.len());
            Ok(())
        });
    }
    if tests.is_empty() {
        return Ok(());
    }
    let log = log_file("console-www.log");
    println!("\nthe node in QEMU, with packed sites; console: {}", log.display());
    let Some(bench) =
        report.check("www: sites are packed, and the node boots", || Bench::boot(image, &server, log))
    else {
        return Ok(());
    };
    let before = report.failed;
    for (name, test) in tests {
        report.check_noting(name, &bench.note, || test(&bench));
    }
    report.check("www: no guest has ended or been started again", || bench.still_the_same());
    if report.failed > before {
        println!("{}\n", bench.node.last_lines(super::LAST_LINES));
    }
    Ok(())
}

impl Bench {
    fn boot(image: &Image, server: &[u8], log: std::path::PathBuf) -> Result<Self> {
        let folder = Folder::new()?;
        let options = Options { gzip: true, ..Options::default() };
        let (packed, site) = site_image(folder.path(), &options, "www", server)?;
        ensure!(packed.has_index && packed.compressed.0 >= 2, "{} are compressed", packed.compressed.0);
        let again = site_image(folder.path(), &options, "www", &site)?.1;
        ensure!(again == site, "packed a second time, it is another image");
        let small = site_image(folder.small(), &Options::default(), "www", server)?.1;
        let image_file = |name: &str, content| ExtraFile {
            path: format!("/usr/lib/jitsu/kernels/{name}"),
            mode: 0o644,
            content,
        };
        let files = vec![image_file("site.img", site), image_file("small.img", small)];
        let start = Start::configured(image.clone(), config(), files);
        let node = RunningNode::boot(NodeSpec { start, icount: false, log, timeout: LIMIT })?;
        let reach = |name| -> Result<SocketAddr> {
            let summoned = node.summon(name)?;
            ensure!(summoned.page.code == 200, "{name} answers {}", summoned.page.code);
            node.reach(summoned.address, 80)
        };
        let (site, small) = (reach(SITE)?, reach(SMALL)?);
        Ok(Bench { node, folder, site, small, note: RefCell::default() })
    }

    fn note(&self, figure: String) {
        self.note.replace(Some(figure));
    }

    fn still_the_same(&self) -> Result<()> {
        let status = self.node.status()?;
        for name in [SITE, SMALL] {
            let service = status.service(name)?;
            ensure!(service.state == "ready" && service.starts == 1, "{service:?}");
        }
        Ok(())
    }

    /// What curl gets of the site for this path, with more arguments.
    fn curl(&self, path: &str, arguments: &[&str]) -> Result<Reply> {
        curl::get(&[format!("http://{}{path}", self.site)], arguments)
            .and_then(|mut replies| replies.pop().context("curl got no reply"))
            .with_context(|| format!("curl {arguments:?} {path}"))
    }
}

fn config() -> String {
    let service = |name: &str, number: u8, memory: u32| {
        format!(
            "\n[[service]]\nname = \"{name}\"\naddress = \"10.0.2.{number}\"\nkernel = \"{name}.img\"\n\
             memory = {memory}\nidle = 3600\ncmdline = \"max-age=60\"\n"
        )
    };
    "[node]\nname = \"node\"\ndomain = \"jitsu.test\"\naddress = \"10.0.2.15/24\"\ngateway = \"10.0.2.2\"\nntp = []\n"
        .to_owned()
        + &service(SITE, 30, 5)
        + &service(SMALL, 31, 2)
}

fn files(bench: &Bench) -> Result<()> {
    for (name, content) in bench.folder.files() {
        let path = format!("/{}", folder::encoded(name));
        let plain = bench.curl(&path, &[])?;
        ensure!(plain.code == 200, "{name}: {}", plain.code);
        ensure!(plain.is(content), "{name}: {} of {} bytes, or others", plain.body.len(), content.len());
        let unpacked = bench.curl(&path, &["--compressed"])?;
        ensure!(unpacked.is(content), "{name}, which curl has unpacked, is another one");
        let varies = unpacked.field("vary").is_some();
        ensure!(varies == (unpacked.field("content-encoding") == Some("gzip")), "{name}: {}", unpacked.head);
    }
    let text = bench.curl("/text.txt", &["--compressed"])?;
    ensure!(text.field("content-encoding") == Some("gzip"), "text is not compressed: {}", text.head);
    ensure!(text.field("content-type") == Some("text/plain; charset=utf-8"), "{}", text.head);
    ensure!(text.field("cache-control") == Some("max-age=60"), "{}", text.head);
    let refused = bench.curl("/text.txt", &["-H", "Accept-Encoding: gzip;q=0, *"])?;
    ensure!(refused.field("content-encoding").is_none(), "{}", refused.head);
    Ok(())
}

fn ranges(bench: &Bench) -> Result<()> {
    let whole = bench.folder.content("large.bin")?;
    let length = whole.len();
    for (range, start, end) in [
        ("0-0", 0, 1),
        ("100-199", 100, 200),
        ("-1", length - 1, length),
        ("-70000", length - 70_000, length),
        ("1000000-", 1_000_000, length),
        ("5-99999999999", 5, length),
    ] {
        let part = bench.curl("/large.bin", &["-r", range])?;
        ensure!(part.code == 206 && part.is(&whole[start..end]), "{range}: {}", part.head);
        let said = format!("bytes {start}-{}/{length}", end - 1);
        ensure!(part.field("content-range") == Some(&said), "{range}: {}", part.head);
    }
    let none = bench.curl("/large.bin", &["-r", &format!("{length}-")])?;
    ensure!(
        none.code == 416 && none.field("content-range") == Some(&format!("bytes */{length}")),
        "{}",
        none.head
    );
    // A download that goes on where another one has stopped.
    let half = bench.folder.scratch("half", &whole[..length / 2])?;
    let address = format!("http://{}/large.bin", bench.site);
    curl::run(&["-C", "-", "-o", &half.display().to_string(), &address])?;
    ensure!(std::fs::read(&half)? == whole, "curl -C - has made another file of it");
    // Several.
    let parts = bench.curl("/large.bin", &["-r", "0-9,1000-1099,-5"])?;
    let media_type = parts.field("content-type").unwrap_or_default().to_owned();
    let boundary = media_type.strip_prefix("multipart/byteranges; boundary=").context(media_type.clone())?;
    let dashes = format!("--{boundary}");
    let count = parts.body.windows(dashes.len()).filter(|window| *window == dashes.as_bytes()).count();
    ensure!(parts.code == 206 && count == 4, "{count} boundaries: {}", parts.head);
    let tag = parts.field("etag").context("no ETag")?;
    for (condition, code) in [(tag, 206), ("\"other\"", 200), ("Tue, 14 Nov 2023 22:13:20 GMT", 200)] {
        let part = bench.curl("/large.bin", &["-r", "0-9", "-H", &format!("If-Range: {condition}")])?;
        ensure!(part.code == code, "If-Range: {condition}: {}", part.code);
    }
    Ok(())
}

fn conditions(bench: &Bench) -> Result<()> {
    // What curl has saved itself.
    let [saved, file] = ["etag", "page"].map(|name| bench.folder.scratch(name, b""));
    let [saved, file] = [saved?.display().to_string(), file?.display().to_string()];
    let address = format!("http://{}/text.txt", bench.site);
    let ask = |compare: bool| -> Result<String> {
        let tag: &[&str] = if compare { &["--etag-compare", &saved] } else { &["--etag-save", &saved] };
        let rest = ["-o", &file, "-w", "%{http_code} %{size_download}", &address];
        curl::run(&[tag, &rest].concat())
    };
    let length = bench.folder.content("text.txt")?.len();
    ensure!(ask(false)? == format!("200 {length}"), "the first time it is not sent");
    ensure!(ask(true)? == "304 0", "the second time it is sent");
    let head = bench.curl("/text.txt", &["-I"])?;
    ensure!(head.field("content-length") == Some(&length.to_string()), "{}", head.head);
    let tag = head.field("etag").context("no ETag")?;
    for (field, code) in [
        (format!("If-None-Match: W/{tag}"), 304),
        ("If-None-Match: *".to_owned(), 304),
        ("If-None-Match: \"other\"".to_owned(), 200),
        (format!("If-Match: {tag}"), 200),
        ("If-Match: \"other\"".to_owned(), 412),
        // It does not know when the file was made.
        ("If-Modified-Since: Fri, 31 Dec 9999 23:59:59 GMT".to_owned(), 200),
    ] {
        let reply = bench.curl("/text.txt", &["-H", &field])?;
        ensure!(reply.code == code, "{field}: {}", reply.code);
    }
    Ok(())
}

fn others(bench: &Bench) -> Result<()> {
    let moved = bench.curl("/folder?a=b", &[])?;
    ensure!(moved.code == 301 && moved.field("location") == Some("/folder/?a=b"), "{}", moved.head);
    let followed = bench.curl("/folder?a=b", &["-L"])?;
    ensure!(followed.is(&bench.folder.content("folder/index.html")?), "{}", followed.head);
    let missing = bench.folder.content("404.html")?;
    for path in ["/nothing", "/folder/nothing", "/text.txt/", "/.git/config", "/%2e%2e%2fetc%2fpasswd"] {
        let reply = bench.curl(path, &["--path-as-is"])?;
        ensure!(reply.code == 404 && (reply.is(&missing) || path.contains("%2f")), "{path}: {}", reply.head);
    }
    let passwd = bench.curl("/../../../../etc/passwd", &["--path-as-is"])?;
    ensure!(passwd.code == 404, "{}", passwd.head);
    for (arguments, code) in [
        (&["-d", "some=thing"][..], 405),
        (&["-X", "PUT", "-H", "Transfer-Encoding: chunked", "-d", "body"], 405),
        (&["-X", "DELETE"], 405),
        (&["-X", "OPTIONS"], 204),
        (&["-X", "BREW"], 501),
        // Curl asks first whether it may send such a long one.
        (&["-d", &"x".repeat(2 << 20)[..1 << 16], "-H", "Expect: 100-continue"], 405),
        (&["-H", "Host: a b"], 400),
        (&["-H", "Host:"], 400),
        (&["-0"], 200),
        (&["-H", &format!("A: {}", "x".repeat(10_000))], 431),
    ] {
        let reply = bench.curl("/", arguments)?;
        ensure!(reply.code == code, "{arguments:.40?}: {}", reply.code);
        ensure!(code != 405 || reply.field("allow") == Some("GET, HEAD, OPTIONS"), "{}", reply.head);
    }
    let long = bench.curl(&format!("/{}", "x".repeat(8100)), &[])?;
    ensure!(long.code == 414, "{}", long.code);
    Ok(())
}

fn pipelined(bench: &Bench) -> Result<()> {
    // Curl: one connection, one request after the other.
    let address = format!("http://{}/text.txt", bench.site);
    let replies = curl::get(&vec![address; 50], &[])?;
    let connects: u32 = replies.iter().map(|reply| reply.connects).sum();
    ensure!(replies.len() == 50 && connects == 1, "{connects} connections for {} requests", replies.len());
    let text = bench.folder.content("text.txt")?;
    ensure!(replies.iter().all(|reply| reply.is(&text)), "a reply is another file");
    // All at once.
    let mut stream = connect(bench.site)?;
    let names = ["index.html", "text.txt", "folder/index.html"];
    let sequence: Vec<_> = names.iter().cycle().take(60).collect();
    for name in &sequence {
        write!(stream, "GET /{name} HTTP/1.1\r\nHost: h\r\n\r\n")?;
    }
    stream.shutdown(Shutdown::Write)?;
    let mut all = Vec::new();
    stream.read_to_end(&mut all)?;
    let replies = broken::replies(&all)?;
    ensure!(replies.len() == sequence.len(), "{} replies to {} requests", replies.len(), sequence.len());
    for ((code, body), name) in replies.iter().zip(sequence) {
        ensure!(*code == 200 && *body == bench.folder.content(name)?, "{name} came back as another file");
    }
    Ok(())
}

fn h2load(bench: &Bench) -> Result<()> {
    let address = format!("http://{}/", bench.site);
    let mut notes = Vec::new();
    // Connections, and requests that are pipelined on each.
    for (connections, in_flight, requests) in [("8", "1", 2000), ("8", "10", 4000), ("1", "50", 1000)] {
        let mut command = Command::new("h2load");
        command.args([
            "--h1",
            "-t",
            "1",
            "-c",
            connections,
            "-m",
            in_flight,
            "-n",
            &requests.to_string(),
            &address,
        ]);
        let text = output(&mut command)?;
        let succeeded = format!("{requests} succeeded, 0 failed, 0 errored, 0 timeout");
        // Of replies that are pipelined it counts a few statuses twice, but not their bytes: the others have to be 0.
        let good = text.contains(&succeeded) && text.contains(" 2xx, 0 3xx, 0 4xx, 0 5xx");
        ensure!(good, "with {connections} connections: {text}");
        let rate = text.split(" req/s").next().and_then(|before| before.rsplit(' ').next()).unwrap_or("?");
        notes.push(format!("{rate}/s by {connections}×{in_flight}"));
    }
    bench.note(notes.join(", "));
    Ok(())
}

fn ab(bench: &Bench) -> Result<()> {
    let mut command = Command::new("ab");
    command.args(["-q", "-k", "-n", "1000", "-c", "8", &format!("http://{}/", bench.site)]);
    let text = output(&mut command)?;
    let count = |what: &str| -> Result<u32> {
        let line = text.lines().find_map(|line| line.strip_prefix(what)).context(text.clone())?;
        Ok(line.trim().parse()?)
    };
    let (complete, failed) = (count("Complete requests:")?, count("Failed requests:")?);
    let kept = count("Keep-Alive requests:")?;
    ensure!((complete, failed) == (1000, 0) && !text.contains("Non-2xx"), "{text}");
    ensure!(kept > 900, "{kept} on connections that were kept");
    bench.note(format!("{kept} of {complete} on connections that were kept"));
    Ok(())
}

/// More than the guest has pages for to send.
fn downloads(bench: &Bench) -> Result<()> {
    const ALL: usize = 24;
    let wanted = bench.folder.content("large.bin")?;
    let address = format!("http://{}/large.bin", bench.site);
    let files = (0..ALL).map(|number| bench.folder.scratch(&format!("download{number}"), b""));
    let files = files.collect::<Result<Vec<_>>>()?;
    let paths: Vec<_> = files.iter().map(|path| path.display().to_string()).collect();
    let mut arguments = vec!["--parallel", "--parallel-max", "8"];
    arguments.extend(paths.iter().flat_map(|path| ["-o", path, &address]));
    curl::run(&arguments)?;
    for file in files {
        ensure!(std::fs::read(&file)? == wanted, "{} is another file", file.display());
    }
    Ok(())
}

/// A guest that ran out of memory would panic.
fn crowded(bench: &Bench) -> Result<()> {
    /// So many persist; and so many more there are.
    const KEPT: usize = 12;
    const FURTHER: usize = 4;
    let (name, wanted) = bench.folder.small_file();
    let request =
        format!("GET /{name} HTTP/1.1\r\nHost: h\r\nConnection: close\r\nA: {}\r\n\r\n", "x".repeat(7000));
    let mut streams = Vec::new();
    for _ in 0..KEPT {
        // Answered, so that the guest has it before the next one comes: QEMU does not queue connections.
        let mut stream = connect(bench.small)?;
        stream.write_all(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")?;
        broken::reply(&mut stream).and_then(|reply| {
            ensure!(reply.0 == 200, "{}", reply.0);
            Ok(())
        })?;
        streams.push(stream);
    }
    // Nobody reads until all have asked: what is sent fills every buffer.
    for stream in &mut streams {
        stream.write_all(request.as_bytes())?;
    }
    for _ in 0..FURTHER {
        let mut stream = connect(bench.small)?;
        stream.write_all(request.as_bytes())?;
        streams.push(stream);
    }
    for (number, mut stream) in streams.into_iter().enumerate() {
        let mut all = Vec::new();
        stream.read_to_end(&mut all)?;
        let replies = broken::replies(&all).with_context(|| format!("connection {number}"))?;
        ensure!(
            replies.len() == 1 && replies[0] == (200, wanted.clone()),
            "{number}: {} replies",
            replies.len()
        );
    }
    Ok(())
}

fn broken_requests(bench: &Bench) -> Result<()> {
    let outcome = broken::run(bench.site, &bench.folder.content("404.html")?)?;
    bench.note(outcome);
    let page = bench.curl("/", &[])?;
    ensure!(page.code == 200, "and then {}", page.code);
    Ok(())
}

fn connect(server: SocketAddr) -> Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&server, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// What a tool prints, if it succeeds.
fn output(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("starting {command:?}"))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() {
        return Ok(text);
    }
    let errors = String::from_utf8_lossy(&output.stderr);
    Err(Fail::new(Class::Node, format!("{command:?}: {}: {text}{errors}", output.status)))
}
