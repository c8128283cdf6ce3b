//! Which Debian mirror to use: the one named on the command line or in `JITSU_MIRROR`, else the one that
//! this host's own apt is configured with. No mirror's name is built in.

use super::deb822::paragraphs;
use crate::fail::{Class, Fail};
use anyhow::Result;
use std::fs;
use std::path::{Path, PathBuf};

/// Base URLs, without a slash at the end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mirror {
    /// The main archive, the one with a release's own suite, its updates and backports.
    pub main: String,
    /// The security archive.
    pub security: String,
}

/// One line, or paragraph, of apt's configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    uris: Vec<String>,
    suites: Vec<String>,
    components: Vec<String>,
}

impl Mirror {
    /// The explicit URL first, then `JITSU_MIRROR`, then apt's configuration on this host.
    pub fn find(explicit: Option<&str>) -> Result<Self> {
        let from_environment = std::env::var("JITSU_MIRROR").ok().filter(|url| !url.is_empty());
        if let Some(url) = explicit.map(str::to_owned).or(from_environment) {
            return Self::from_url(&url);
        }
        Self::of_host().ok_or_else(|| {
            Fail::new(
                Class::Input,
                "no Debian mirror known: /etc/apt names none with an http(s) address; \
                 give one with --mirror URL or in the environment variable JITSU_MIRROR",
            )
        })
    }

    /// What this host's apt is configured with, if that is a Debian mirror reached by http(s).
    pub fn of_host() -> Option<Self> {
        Self::choose(&host_entries(Path::new("/etc/apt")))
    }

    fn from_url(url: &str) -> Result<Self> {
        if !is_http(url) {
            return Err(Fail::new(
                Class::Input,
                format!(
                    "mirror {url:?} is not an http:// or https:// address; expected for example http://HOST/debian"
                ),
            ));
        }
        let main = url.trim_end_matches('/').to_owned();
        Ok(Self { security: security_sibling(&main), main })
    }

    /// The first main archive and the first security archive among `entries`.
    fn choose(entries: &[Entry]) -> Option<Self> {
        let debian = |entry: &&Entry| entry.components.iter().any(|c| c == "main");
        let security =
            |entry: &Entry| entry.suites.iter().any(|s| s.contains("-security") || s.contains("/updates"));
        let uri = |entry: &Entry| {
            entry.uris.iter().find(|uri| is_http(uri)).map(|uri| uri.trim_end_matches('/').to_owned())
        };
        // Third parties also call their component "main"; only an archive whose path says so is Debian's.
        let candidates = || entries.iter().filter(debian).filter(|e| !security(e)).filter_map(uri);
        let main = candidates()
            .find(|uri| uri.ends_with("/debian"))
            .or_else(|| candidates().find(|uri| uri.split('/').any(|part| part == "debian")))?;
        let security = entries.iter().filter(debian).filter(|e| security(e)).find_map(uri);
        Some(Self { security: security.unwrap_or_else(|| security_sibling(&main)), main })
    }
}

/// By convention a mirror that carries both keeps them beside each other.
fn security_sibling(main: &str) -> String {
    format!("{main}-security")
}

fn is_http(uri: &str) -> bool {
    uri.starts_with("http://") || uri.starts_with("https://")
}

/// Everything under `apt` (normally /etc/apt) in the order in which apt reads it. What cannot be read is
/// skipped: apt itself will complain about it better than we can.
fn host_entries(apt: &Path) -> Vec<Entry> {
    let mut files = vec![apt.join("sources.list")];
    let mut parts: Vec<PathBuf> = fs::read_dir(apt.join("sources.list.d"))
        .map(|dir| dir.filter_map(|entry| Some(entry.ok()?.path())).collect())
        .unwrap_or_default();
    parts.sort();
    files.extend(parts);

    let mut entries = Vec::new();
    for file in files {
        let Ok(text) = fs::read_to_string(&file) else { continue };
        match file.extension().and_then(|e| e.to_str()) {
            Some("list") => entries.extend(parse_list(&text)),
            Some("sources") => entries.extend(parse_sources(&text)),
            _ => {}
        }
    }
    entries
}

/// The one-line format: `deb [options] URI SUITE COMPONENT…`.
fn parse_list(text: &str) -> Vec<Entry> {
    let line = |line: &str| {
        let line = line.split('#').next()?.trim();
        let rest = line.strip_prefix("deb")?.strip_prefix([' ', '\t'])?.trim_start();
        let rest = match rest.strip_prefix('[') {
            Some(options) => options.split_once(']')?.1,
            None => rest,
        };
        let mut words = rest.split_whitespace().map(str::to_owned);
        Some(Entry { uris: vec![words.next()?], suites: vec![words.next()?], components: words.collect() })
    };
    text.lines().filter_map(line).collect()
}

/// The deb822 format.
fn parse_sources(text: &str) -> Vec<Entry> {
    let words =
        |p: &super::deb822::Paragraph<'_>, name: &str| p.words(name).map(str::to_owned).collect::<Vec<_>>();
    paragraphs(text)
        .filter(|p| p.words("Types").any(|t| t == "deb"))
        .filter(|p| !p.get("Enabled").is_some_and(|v| v.eq_ignore_ascii_case("no")))
        .map(|p| Entry {
            uris: words(&p, "URIs"),
            suites: words(&p, "Suites"),
            components: words(&p, "Components"),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deb822_sources() {
        let text = "Types: deb deb-src\n# URIs: http://old/\nURIs: http://m.example/debian/\nSuites: bookworm bookworm-updates\n\
                    Components: main\n\nTypes: deb\nURIs: http://s.example/debian-security\nSuites: bookworm-security\nComponents: main\n";
        assert_eq!(
            Mirror::choose(&parse_sources(text)),
            Some(Mirror {
                main: "http://m.example/debian".into(),
                security: "http://s.example/debian-security".into()
            })
        );
    }

    #[test]
    fn disabled_and_source_only_entries_do_not_count() {
        let text = "Enabled: no\nTypes: deb\nURIs: http://a.example/debian\nSuites: x\nComponents: main\n\n\
                    Types: deb-src\nURIs: http://b.example/debian\nSuites: x\nComponents: main\n";
        assert_eq!(parse_sources(text), []);
    }

    #[test]
    fn one_line_lists() {
        let text = "# deb http://no.example/debian x main\n\
                    deb cdrom:[Debian]/ bookworm main\n\
                    deb mirror+file:/etc/apt/mirrors/debian.list bookworm main\n\
                    deb https://third.example/apt stable main\n\
                    deb [signed-by=/k.gpg arch=amd64] http://m.example/debian bookworm main contrib # why\n\
                    deb-src http://src.example/debian bookworm main\n";
        let mirror = Mirror::choose(&parse_list(text)).expect("a mirror");
        assert_eq!(mirror.main, "http://m.example/debian");
        assert_eq!(mirror.security, "http://m.example/debian-security");
    }

    #[test]
    fn nothing_but_third_parties_is_no_mirror() {
        assert_eq!(Mirror::choose(&parse_list("deb https://third.example/apt stable main\n")), None);
    }

    #[test]
    fn explicit_url_must_be_http() {
        assert!(Mirror::from_url("ftp://m.example/debian").is_err());
        assert_eq!(
            Mirror::from_url("http://m.example/debian/").expect("valid").security,
            "http://m.example/debian-security"
        );
    }
}
