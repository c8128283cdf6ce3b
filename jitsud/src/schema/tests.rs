use std::path::Path;
use std::{env, fs};

use serde_json::{Value, json};

use super::*;
use crate::config;
use crate::directory::{Incarnation, Input, Ticket};
use crate::summoner::ServiceId;

/// A node with one service, `www`, and one that is misconfigured.
fn node() -> config::Loaded {
    let text = "[node]\nname = \"node\"\ndomain = \"jitsu.test\"\naddress = \"10.0.2.15/24\"\n\
                [[service]]\nname = \"www\"\naddress = \"10.0.2.20\"\nkernel = \"k\"\n\
                [[service]]\nname = \"bad\"\naddress = \"10.0.2.20\"\nkernel = \"k\"\n";
    config::loaded(text)
}

#[test]
fn the_document_of_a_failed_service() {
    let loaded = node();
    let mut directory = Directory::new(&loaded.config, Moment(1));
    let service = ServiceId(0);
    directory.handle(Moment(20), Input::Summon { service, received: Moment(10), ticket: Ticket(1) });
    let incarnation = Incarnation { service, number: 1 };
    let reason = "no memory".to_owned();
    directory.handle(Moment(30), Input::BuildFailed { incarnation, reason });
    let status = NodeStatus::new(&loaded.config, &loaded.problems, &directory, Facts::default(), Moment(40));

    let document = serde_json::to_value(&status).unwrap();
    assert_eq!((&document["version"], &document["now_ns"]), (&json!(1), &json!(40)));
    let www = json!({
        "name": "www", "state": "failed", "reason": "no memory", "retry_at_ns": 1_000_000_030_u64,
        "idle_at_ns": null, "ready_since_ns": null, "ends_at_ns": null, "start": "summon", "dns": ["www.jitsu.test"], "address": "10.0.2.20", "address6": null, "host": null, "memory_mib": 16,
        "why": "no memory", "domid": null, "cpu_ns": null, "in_shell": false, "since_ns": 30, "starts": 1, "requests": 1, "wakes": 0, "failures": 1, "waiting": 0,
        "last_request_ns": 10, "last_packet_ns": null, "open_connections": 0,
        "last_start": [
            { "stage": "query_received", "at_ns": 10, "after_ns": 0 },
            { "stage": "build_started", "at_ns": 20, "after_ns": 10 },
        ],
        "console": [],
    });
    assert_eq!(document["services"], json!([www]));
    let problem = &document["problems"][0];
    assert_eq!((&problem["line"], &problem["service"]), (&json!(11), &json!("bad")));
    let last = json!({ "serial": 2, "at_ns": 30, "service": "www", "from": "building", "to": "failed",
        "why": "no memory" });
    assert_eq!(document["events"][1], last);
    assert_eq!(document["xen"]["free_bytes"], Value::Null);
    assert_eq!(document["shells"], json!({ "wanted": 0, "ready": 0, "taken": 0 }));
    assert_eq!(serde_json::from_value::<NodeStatus>(document).unwrap(), status);
}

#[test]
fn what_the_boot_script_said_is_in_the_document() {
    let line = "jitsu.board=cubietruck jitsu.slot=b jitsu.fallback=a/kernel:damaged,a/dtb:missing";
    let boot = serde_json::to_value(Boot::of(&Parameters::parse(line).0)).unwrap();
    assert_eq!((&boot["board"], &boot["slot"]), (&json!("cubietruck"), &json!("b")));
    let fallback = json!([
        { "file": "a/kernel", "fault": "damaged" },
        { "file": "a/dtb", "fault": "missing" },
    ]);
    assert_eq!(boot["fallback"], fallback);
    let card = serde_json::to_value(CardStatus::new("6a697473-01".to_owned())).unwrap();
    assert_eq!(card["data"], json!({ "state": "pending", "device": null, "bytes": null }));
}

/// `docs/status.schema.json` is these types as JSON Schema, with what is written about them here.
#[test]
fn the_published_schema_is_that_of_the_types() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/status.schema.json");
    let schema = schemars::schema_for!(NodeStatus);
    let text = serde_json::to_string_pretty(&schema).unwrap() + "\n";
    if env::var_os("WRITE_SCHEMA").is_some() {
        fs::write(&file, &text).unwrap();
    }
    let published = fs::read_to_string(&file).unwrap_or_default();
    assert!(published == text, "{} is out of date; run this test with WRITE_SCHEMA=1", file.display());
}
