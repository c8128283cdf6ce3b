//! What may be wrong with a service, and what is said about it.

use super::*;

#[test]
fn a_bad_service_is_left_out_and_explained() {
    let long_label = "a".repeat(64);
    let long_label_problem = format!(
        "9: service {long_label}: name {long_label:?} has 64 characters, more than 63; \
         use 1 to 63 of a-z, 0-9 and hyphens inside"
    );
    let long_cmdline = format!("cmdline = \"{}\"", "x".repeat(MAX_CMDLINE + 1));
    let long_value = format!("keys.a = \"{}\"", "x".repeat(2049));
    let many_keys = format!("keys = {{ {} }}", vec!["k = \"\""; 65].join(", "));
    let many_keys = (0..65).fold(many_keys, |text, number| text.replacen("k =", &format!("k{number} ="), 1));
    let many_ports = format!("tcp = {:?}", (1..=65).collect::<Vec<_>>());
    // What is added to the service's table, and the one thing said about it. Keys that `GOOD` has are
    // written as "old => new".
    let table: &[(&str, &str)] = &[
        // Unknown keys.
        ("adress = 1", "12: service www: unknown key \"adress\"; did you mean address?"),
        ("memroy = 4", "12: service www: unknown key \"memroy\"; did you mean memory?"),
        ("boot-timeout = 4", "12: service www: unknown key \"boot-timeout\"; did you mean boot_timeout?"),
        (
            "\ncolour = 1",
            "13: service www: unknown key \"colour\"; remove it; [[service]] knows name, dns, address, \
             address6, instances, announce, kernel, ramdisk, memory, vcpus, weight, cmdline, start, answer, response_delay, wake, tcp, udp, refuse, quiet, ttl, idle, min_uptime, max_uptime, boot_timeout, stop, stop_timeout, wait_for_key, listens_on, \
             keys, vif, disk",
        ),
        // Names.
        ("name = \"www\" =>", "8: name is missing; add name = \"www\""),
        ("name = \"www\" => name = 7", "9: name is a whole number, not a string; write name = \"www\""),
        ("name = \"www\" => name = \"WWW\"", "9: service WWW: name \"WWW\" contains 'W'; write \"www\""),
        (
            "name = \"www\" => name = \"\"",
            "9: name \"\" is empty; use 1 to 63 of a-z, 0-9 and hyphens inside",
        ),
        (
            "name = \"www\" => name = \"a_b\"",
            "9: service a_b: name \"a_b\" contains '_'; use 1 to 63 of a-z, 0-9 and hyphens inside",
        ),
        (
            "name = \"www\" => name = \"-a\"",
            "9: service -a: name \"-a\" begins or ends with a hyphen; \
             use 1 to 63 of a-z, 0-9 and hyphens inside",
        ),
        (&format!("name = \"www\" => name = \"{long_label}\""), &long_label_problem),
        // DNS names.
        (
            "dns = \"www.jitsu.test\"",
            "12: service www: dns is a string, not a list of strings; write dns = [\"www.jitsu.test\"]",
        ),
        (
            "dns = [\"a.jitsu.test\",\n 5]",
            "13: service www: dns is a whole number, not a list of strings; write dns = [\"www.jitsu.test\"]",
        ),
        ("dns = []", "12: service www: dns is empty; remove it for the default, or list a name"),
        (
            "dns = [\"www.example.org\"]",
            "12: service www: DNS name \"www.example.org\" is outside the node's zone \"jitsu.test\"; \
             end it in .jitsu.test, or change [node] domain",
        ),
        (
            "dns = [\"notjitsu.test\"]",
            "12: service www: DNS name \"notjitsu.test\" is outside the node's zone \"jitsu.test\"; \
             end it in .jitsu.test, or change [node] domain",
        ),
        (
            "dns = [\"a..jitsu.test\"]",
            "12: service www: DNS name \"a..jitsu.test\" has a label \"\" that is empty; \
             write dns = [\"www.jitsu.test\"]",
        ),
        (
            "dns = [\"a.jitsu.test\",\n\n\"A.JITSU.TEST.\"]",
            "14: service www: DNS name \"a.jitsu.test\" already belongs to www; \
             give each service names of its own",
        ),
        (
            "dns = [\"node.jitsu.test\"]",
            "12: service www: DNS name \"node.jitsu.test\" already belongs to the node; \
             give each service names of its own",
        ),
        // Addresses.
        (
            "address = \"10.0.2.20\" =>",
            "8: service www: no DHCP server offered an address within 0 s; \
             write a free address of the network instead of \"dhcp\"",
        ),
        (
            "address = \"10.0.2.20\" => address = \"dhcp\"",
            "10: service www: no DHCP server offered an address within 0 s; \
             write a free address of the network instead of \"dhcp\"",
        ),
        (
            "address = \"10.0.2.20\" => address = 10",
            "10: service www: address is a whole number, not a string; \
             write an address of 10.0.2.0/24 in quotes",
        ),
        (
            "address = \"10.0.2.20\" => address = \"10.0.2\"",
            "10: service www: address \"10.0.2\" is not an IPv4 address; \
             write an address of 10.0.2.0/24 in quotes",
        ),
        (
            "address = \"10.0.2.20\" => address = \"10.0.2.20/24\"",
            "10: service www: address \"10.0.2.20/24\" is not an IPv4 address; \
             write \"10.0.2.20\"; the prefix length is the node's",
        ),
        (
            "address = \"10.0.2.20\" => address = \"10.0.3.20\"",
            "10: service www: address 10.0.3.20 is outside the bridge's network 10.0.2.0/24; \
             take a free address of 10.0.2.0/24",
        ),
        (
            "address = \"10.0.2.20\" => address = \"10.0.2.15\"",
            "10: service www: address 10.0.2.15 already belongs to the node; \
             take another address of 10.0.2.0/24",
        ),
        (
            "address = \"10.0.2.20\" => address = \"10.0.2.2\"",
            "10: service www: address 10.0.2.2 already belongs to the gateway; \
             take another address of 10.0.2.0/24",
        ),
        (
            "address = \"10.0.2.20\" => address = \"10.0.2.0\"",
            "10: service www: address 10.0.2.0 already belongs to the network itself; \
             take another address of 10.0.2.0/24",
        ),
        (
            "address = \"10.0.2.20\" => address = \"10.0.2.255\"",
            "10: service www: address 10.0.2.255 already belongs to the network's broadcast; \
             take another address of 10.0.2.0/24",
        ),
        // Kernels.
        ("kernel = \"www\" =>", "8: service www: kernel is missing; add kernel = \"www\""),
        ("kernel = \"www\" => kernel = \"\"", "11: service www: kernel is empty; name an ARM zImage"),
        (
            "kernel = \"www\" => kernel = \"nope\"",
            "11: service www: kernel /usr/lib/jitsu/kernels/nope cannot be read: no such file; \
             put the zImage there or correct the path",
        ),
        (
            "kernel = \"www\" => kernel = \"elf\"",
            "11: service www: kernel /usr/lib/jitsu/kernels/elf is not an ARM zImage but an ELF file; \
             use the zImage from arch/arm/boot",
        ),
        (
            "kernel = \"www\" => kernel = \"gzip\"",
            "11: service www: kernel /usr/lib/jitsu/kernels/gzip is not an ARM zImage but a gzip file; \
             unpack it",
        ),
        (
            "kernel = \"www\" => kernel = \"uimage\"",
            "11: service www: kernel /usr/lib/jitsu/kernels/uimage is not an ARM zImage but a U-Boot image \
             (uImage); use the zImage from arch/arm/boot",
        ),
        (
            "kernel = \"www\" => kernel = \"text\"",
            "11: service www: kernel /usr/lib/jitsu/kernels/text is not an ARM zImage but something else; \
             use the zImage from arch/arm/boot",
        ),
        (
            "kernel = \"www\" => kernel = \"empty\"",
            "11: service www: kernel /usr/lib/jitsu/kernels/empty is not an ARM zImage but an empty file; \
             copy the kernel again",
        ),
        (
            "kernel = \"www\" => kernel = \"big\"",
            "11: service www: kernel /usr/lib/jitsu/kernels/big is not an ARM zImage but a big-endian \
             zImage; build the kernel little-endian",
        ),
        (
            "kernel = \"www\" => kernel = \"cut\"",
            "11: service www: kernel /usr/lib/jitsu/kernels/cut is cut off: 1000 of 307200 bytes are there; \
             copy the whole file again",
        ),
        (
            "kernel = \"www\" => kernel = \"backwards\"",
            "11: service www: kernel /usr/lib/jitsu/kernels/backwards has a broken zImage header: \
             start 0x2000, end 0x1000; build the kernel again",
        ),
        (
            "kernel = \"www\" => kernel = \"padded\"",
            "11: service www: kernel /usr/lib/jitsu/kernels/padded has 65 MiB, more than 64; \
             make it smaller: all kernels and ramdisks together may have 64 MiB",
        ),
        // Ramdisks.
        (
            "ramdisk = \"nope\"",
            "12: service www: ramdisk /usr/lib/jitsu/kernels/nope cannot be read: no such file; \
             put the file there, correct the path, or remove the key",
        ),
        (
            "ramdisk = \"\"",
            "12: service www: ramdisk is empty; put the file there, correct the path, or remove the key",
        ),
        (
            "ramdisk = \"empty\"",
            "12: service www: ramdisk /usr/lib/jitsu/kernels/empty is an empty file; copy the file again",
        ),
        (
            "ramdisk = \"padded\"",
            "12: service www: ramdisk /usr/lib/jitsu/kernels/padded has 65 MiB, too many beside the 1 MiB of those \
             before it; make it smaller: all kernels and ramdisks together may have 64 MiB",
        ),
        (
            "ramdisk = \"linux\"\nmemory = 20",
            "13: service www: memory = 20 MiB is too little for a kernel of 300 KiB and a ramdisk of 20480 KiB; \
             give at least memory = 22",
        ),
        // Numbers.
        (
            "memory = 1",
            "12: service www: memory = 1 MiB is too little for a kernel of 300 KiB; give at least memory = 2",
        ),
        (
            "kernel = \"www\" => kernel = \"linux\"",
            "8: service www: memory = 16 MiB is too little for a kernel of 20480 KiB; \
             give at least memory = 22",
        ),
        ("memory = 0", "12: service www: memory = 0 is out of range; give 1 to 2048 MiB"),
        ("memory = 4096", "12: service www: memory = 4096 is out of range; give 1 to 2048 MiB"),
        ("memory = -1", "12: service www: memory = -1 is out of range; give 1 to 2048 MiB"),
        (
            "memory = 9_223_372_036_854_775_807",
            "12: service www: memory = 9223372036854775807 is out of range; give 1 to 2048 MiB",
        ),
        ("memory = \"4M\"", "12: service www: memory is a string, not a whole number; write memory = 1"),
        ("memory = 4.5", "12: service www: memory is a fraction, not a whole number; write memory = 1"),
        ("vcpus = 9", "12: service www: vcpus = 9 is out of range; give 1 to 8 CPUs"),
        ("vcpus = true", "12: service www: vcpus is true or false, not a whole number; write vcpus = 1"),
        (
            "weight = 65536",
            "12: service www: weight = 65536 is out of range; give 1 to 65535 (256 is a domain's usual share)",
        ),
        ("ttl = 0", "12: service www: ttl = 0 is out of range; give 1 to 86400 seconds"),
        ("idle = 999999", "12: service www: idle = 999999 is out of range; give 1 to 604800 seconds"),
        (
            "idle = 30",
            "12: service www: idle = 30 s is shorter than ttl = 60 s; \
             give idle at least 60: cached answers would lead to a stopped service",
        ),
        ("boot_timeout = 301", "12: service www: boot_timeout = 301 is out of range; give 1 to 300 seconds"),
        // How it ends.
        (
            "stop = \"suspend\"",
            "12: service www: stop = \"suspend\" is not known; \
             write \"destroy\", \"shutdown\" for a guest that can switch itself off, or \"pause\"",
        ),
        (
            "stop_timeout = 5",
            "12: service www: stop_timeout is for guests that are asked to shut down; \
             write stop = \"shutdown\", or remove stop_timeout",
        ),
        (
            "stop = \"shutdown\"\nstop_timeout = 0",
            "13: service www: stop_timeout = 0 is out of range; give 1 to 300 seconds",
        ),
        (
            "stop = \"pause\"\nstop_timeout = 5",
            "13: service www: stop_timeout is for guests that are asked to shut down; \
             write stop = \"shutdown\", or remove stop_timeout",
        ),
        // Who starts it, when it is answered, and for how long it is up.
        (
            "start = \"never\"",
            "12: service www: start = \"never\" is not known; \
             write \"summon\", \"always\", or \"manual\" for a service that only an administrator starts",
        ),
        (
            "start = \"always\"\nidle = 90",
            "13: service www: idle is not for a service that runs always; \
             remove idle, or write start = \"summon\"",
        ),
        ("answer = 1", "12: service www: answer is a whole number, not a string; write answer = \"start\""),
        (
            "answer = \"soon\"",
            "12: service www: answer = \"soon\" is not known; \
             write \"start\", or \"ready\" to have clients wait until it accepts connections",
        ),
        ("max_uptime = 0", "12: service www: max_uptime = 0 is out of range; give 1 to 315360000 seconds"),
        (
            "min_uptime = 10\nmax_uptime = 9",
            "13: service www: max_uptime = 9 s is shorter than min_uptime = 10 s; give max_uptime at least 10",
        ),
        // What packets may do.
        ("wake = 1", "12: service www: wake is a whole number, not true or false; write wake = false"),
        ("tcp = 80", "12: service www: tcp is a whole number, not a list of whole numbers; write tcp = [1]"),
        ("udp = [\n53, 0]", "13: service www: 0 in udp is out of range; give 1 to 65535, or none"),
        ("udp = [\"dns\"]", "12: service www: udp is a string, not a list of whole numbers; write udp = [1]"),
        (
            &many_ports,
            "12: service www: tcp lists 65 ports, more than 64; remove some, or the key for all ports",
        ),
        (
            "refuse = \"drop\"",
            "12: service www: refuse = \"drop\" is not known; write \"reset\", \"unreachable\" or \"silence\"",
        ),
        (
            "quiet = { networks = [\"nagios\"] }",
            "12: service www: \"nagios\" in networks is neither an address nor a network; \
             write for example 192.168.1.0/24",
        ),
        // Strings with rules.
        (
            "cmdline = [\"a\"]",
            "12: service www: cmdline is a list, not a string; write cmdline = \"token=abc\"",
        ),
        (
            "cmdline = \"a\\u0000b\"",
            "12: service www: cmdline contains the control character '\\0'; \
             remove it; arguments are separated by spaces",
        ),
        (&long_cmdline, "12: service www: cmdline has 897 bytes, more than 896; shorten it to 896 bytes"),
        (
            "wait_for_key = \"/local/domain/1/data\"",
            "12: service www: wait_for_key \"/local/domain/1/data\" is not relative to the domain's \
             directory; write for example \"data/ready\"",
        ),
        (
            "wait_for_key = \"data//ready\"",
            "12: service www: wait_for_key \"data//ready\" is not a XenStore path; \
             write for example \"data/ready\"",
        ),
        (
            "wait_for_key = \"\"",
            "12: service www: wait_for_key \"\" is not a XenStore path; write for example \"data/ready\"",
        ),
        (
            "wait_for_key = \"data\"",
            "12: service www: wait_for_key \"data\" is one that every domain has; \
             write the value that it is to have, as in \"device/vif/0/state=4\"",
        ),
        (
            "wait_for_key = \"memory/target\"",
            "12: service www: wait_for_key \"memory/target\" is one that every domain has; \
             write the value that it is to have, as in \"device/vif/0/state=4\"",
        ),
        (
            "keys = { \"data/ready/x\" = \"\" }",
            "12: service www: key \"data/ready/x\" lies below the one that the guest is to write when it is ready; \
             take another one, or another wait_for_key",
        ),
        (
            "wait_for_key = \"=4\"",
            "12: service www: wait_for_key \"=4\" is not a XenStore path; write for example \"data/ready\"",
        ),
        // Keys.
        (
            "keys = [\"a\"]",
            "12: service www: keys is a list, not a table; write keys = { \"data/greeting\" = \"hello\" }",
        ),
        (
            "keys.n = 4",
            "12: service www: keys.n is a whole number, not a string; \
             write keys = { \"data/greeting\" = \"hello\" }",
        ),
        (
            "keys = { a = \"1\", \"/local/domain/0/name\" = \"me\" }",
            "12: service www: key \"/local/domain/0/name\" is not relative to the domain's directory; \
             write for example \"data/greeting\"",
        ),
        (
            "keys.\"data/../../0/name\" = \"me\"",
            "12: service www: key \"data/../../0/name\" is not a XenStore path; \
             write for example \"data/greeting\"",
        ),
        (
            "\n[service.keys]\na = \"1\"\n\"device/vif/0/mac\" = \"2\"",
            "15: service www: key \"device/vif/0/mac\" is one that every domain has; \
             write for example \"data/greeting\"",
        ),
        (
            "keys.data = \"1\"",
            "12: service www: key \"data\" is one that every domain has; write for example \"data/greeting\"",
        ),
        (
            "keys.\"data/ready\" = \"1\"",
            "12: service www: key \"data/ready\" is the one that the guest is to write when it is ready; \
             take another one, or another wait_for_key",
        ),
        (
            &long_value,
            "12: service www: the value of key \"a\" has 2049 bytes, more than 2048; put it into several keys",
        ),
        (
            &many_keys,
            "12: service www: keys has 65 keys, more than 64; put them together into fewer, longer values",
        ),
        // Interfaces.
        ("vif = 1", "12: service www: vif is a whole number, not a list of tables; write [[service.vif]]"),
        ("\n[[service.vif]]\nmak = \"\"", "14: service www: unknown key \"mak\"; did you mean mac?"),
        (
            "vif = [{}, { bridge = \"\" }]",
            "12: service www: bridge \"\" is not an interface name; write for example bridge = \"br1\"",
        ),
        (
            "\n[[service.vif]]\nmac = \"00:16:3e:00:02\"",
            "14: service www: mac \"00:16:3e:00:02\" is not an Ethernet address; \
             write for example mac = \"00:16:3e:01:02:03\"",
        ),
        (
            "\n[[service.vif]]\nmac = \"01:16:3e:00:02:03\"",
            "14: service www: mac \"01:16:3e:00:02:03\" cannot be an interface's; \
             write for example mac = \"00:16:3e:01:02:03\"",
        ),
        (
            "\n[[service.vif]]\nbridge = \"br1\"\nmac = \"00:16:3e:00:02:14\"",
            "15: service www: mac 00:16:3e:00:02:14 already belongs to another interface; \
             write another one, or none",
        ),
        (
            "vif = [{}, {}, {}, {}, {}, {}, {}, {}]",
            "12: service www: 8 more interfaces, more than 7; remove some",
        ),
        // Disks.
        (
            "\n[[service.disk]]\naccess = \"rw\"",
            "13: service www: path is missing; add path = \"/data/disk.img\"",
        ),
        (
            "\n[[service.disk]]\npath = \"a.img\"",
            "14: service www: disk \"a.img\" is not a full path; begin it with /",
        ),
        (
            "\n[[service.disk]]\npath = \"/data/none.img\"",
            "14: service www: disk /data/none.img cannot be used: no such file; \
             put the disk's image there, or correct the path",
        ),
        (
            "disk = [{ path = \"/srv\" }]",
            "12: service www: disk /srv cannot be used: it is neither a file nor a block device; \
             put the disk's image there, or correct the path",
        ),
        (
            "\n[[service.disk]]\npath = \"/srv/a.img\"\naccess = \"w\"",
            "15: service www: access \"w\" is not known; \
             write \"ro\" for reading only, or \"rw\" for reading and writing",
        ),
        (
            "\n[[service.disk]]\npath = \"/srv/a.img\"\ndevice = \"xvdq\"",
            "15: service www: device \"xvdq\" is none of xvda to xvdp; write another name, or none",
        ),
        (
            "disk = [{ path = \"/srv/a.img\" }, { path = \"/srv/b.img\", device = \"xvda\" }]",
            "12: service www: device \"xvda\" is already another disk of this service; write another name, or none",
        ),
        (
            "disk = [{ path = \"/srv/a.img\" }, { path = \"/srv/link-to-a.img\", access = \"rw\" }]",
            "12: service www: disk /srv/link-to-a.img is used by www too, and one of them writes to it; \
             give every service that writes a disk of its own",
        ),
        (
            "\n[[service.disk]]\npath = \"/srv/a.img\"\nsize = 4",
            "15: service www: unknown key \"size\"; remove it; [[service.disk]] knows path, device, access",
        ),
    ];
    const OTHER: &str = "[[service]]\nname = \"other\"\naddress = \"10.0.2.21\"\nkernel = \"www\"\n";
    for (change, expected) in table {
        let text = match change.split_once(" =>") {
            Some((from, to)) => with(from, to.trim()),
            None => format!("{GOOD}{change}\n"),
        };
        // Whatever is wrong with one service, the next one is there.
        let loaded = resolved(&format!("{text}\n{OTHER}"));
        assert_eq!(lines(&loaded.problems), [format!("jitsu.toml:{expected}")], "{change}");
        let names: Vec<_> = loaded.config.services.iter().map(|service| &service.name).collect();
        assert_eq!(names, ["other"], "{change}");
    }
}

#[test]
fn who_starts_a_service_and_for_how_long_it_is_up() {
    let text = "start = \"manual\"\nanswer = \"start\"\nmin_uptime = 5\nmax_uptime = 5\n";
    let loaded = resolved(&format!("{GOOD}{text}"));
    assert_eq!(lines(&loaded.problems), [""; 0]);
    let service = &loaded.config.services[0];
    assert_eq!((service.start, service.answer), (Start::Manual, Answer::Start));
    let five = Duration::from_secs(5);
    assert_eq!((service.min_uptime, service.max_uptime), (five, Some(five)));
    for start in [Start::Summon, Start::Always, Start::Manual] {
        let loaded = resolved(&format!("{GOOD}start = {:?}\n", start.as_str()));
        assert_eq!(loaded.config.services[0].start, start);
    }
}

#[test]
fn how_a_service_ends() {
    let shutdown = |timeout| Stop::Shutdown { timeout: Duration::from_secs(timeout) };
    for (text, expected) in [
        ("", Stop::Destroy),
        ("stop = \"destroy\"", Stop::Destroy),
        ("stop = \"shutdown\"", shutdown(10)),
        ("stop = \"shutdown\"\nstop_timeout = 30", shutdown(30)),
        ("stop = \"pause\"", Stop::Pause),
    ] {
        let loaded = resolved(&format!("{GOOD}{text}\n"));
        assert_eq!(lines(&loaded.problems), [""; 0]);
        assert_eq!(loaded.config.services[0].stop, expected, "{text}");
    }
}

#[test]
fn keys_that_a_guest_finds_and_the_one_that_it_writes() {
    let text = "wait_for_key = \"device/vif/0/state=4\"\nkeys = { \"data/b\" = \"2\", a = \"\" }\n";
    let loaded = resolved(&format!("{GOOD}{text}"));
    assert_eq!(lines(&loaded.problems), [""; 0]);
    let www = &loaded.config.services[0];
    let key = |path: &str, value: &str| Key { path: path.to_owned(), value: value.to_owned() };
    assert_eq!(www.keys, [key("a", ""), key("data/b", "2")]);
    let ready = ReadyKey { path: "device/vif/0/state".to_owned(), value: Some("4".to_owned()) };
    assert_eq!(www.wait_for_key, ready);
    assert_eq!(ready.to_string(), "device/vif/0/state=4");
}

#[test]
fn disks_that_a_guest_finds() {
    let disks = "disk = [{ path = \"/dev/sda1\", access = \"rw\" }, { path = \"/srv/a.img\", device = \"xvdp\" }, \
                 { path = \"/srv/b.img\", access = \"ro\" }]\n";
    // A second service may read what the first one reads.
    let second = "[[service]]\nname = \"b\"\naddress = \"10.0.2.21\"\nkernel = \"www\"\n\
                  disk = [{ path = \"/srv/a.img\" }]\n";
    let loaded = resolved(&format!("{GOOD}{disks}{second}"));
    assert_eq!(lines(&loaded.problems), [""; 0]);
    let disks = loaded.config.services[0].disks.iter();
    let found: Vec<_> = disks
        .map(|disk| {
            (disk.path.to_str().unwrap(), disk.device.to_string(), disk.device.number(), disk.writable)
        })
        .collect();
    let expected = [
        ("/dev/sda1", "xvda".to_owned(), 51712, true),
        ("/srv/a.img", "xvdp".to_owned(), 51952, false),
        ("/srv/b.img", "xvdb".to_owned(), 51728, false),
    ];
    assert_eq!(found, expected);
    assert_eq!(loaded.config.services.len(), 2);

    let writes = second.replace("/srv/a.img\"", "/dev/sda1\"");
    let expected = "jitsu.toml:17: service b: disk /dev/sda1 is used by www too, and one of them writes to it; \
                    give every service that writes a disk of its own";
    let loaded = resolved(&format!("{GOOD}disk = [{{ path = \"/dev/sda1\", access = \"rw\" }}]\n{writes}"));
    assert_eq!(lines(&loaded.problems), [expected]);
}

#[test]
fn a_disk_on_a_cards_data_partition_is_there_later() {
    let disk = "disk = [{ path = \"/data/a.img\", access = \"rw\" }]\n";
    let second = "[[service]]\nname = \"b\"\naddress = \"10.0.2.21\"\nkernel = \"www\"\n";
    let kernels = Kernels { card: Some("/boot/unikernels".into()), probe: &kernels, disk: &disks };
    let draft =
        parse(format!("{GOOD}{disk}{second}{disk}").as_bytes(), Path::new("jitsu.toml"), &kernels).unwrap();
    let expected = "jitsu.toml:17: service b: disk /data/a.img is used by www too, and one of them writes to it; \
                    give every service that writes a disk of its own";
    assert_eq!(lines(draft.problems()), [expected]);
}

#[test]
fn what_two_services_claim_belongs_to_the_first() {
    let second = |name: &str, address: &str, dns: &str| {
        format!("{GOOD}[[service]]\nname = \"{name}\"\naddress = \"{address}\"\nkernel = \"www\"\n{dns}\n")
    };
    let table = [
        (
            second("www", "10.0.2.21", "dns = [\"b.jitsu.test\"]"),
            "13: service www: name \"www\" is already taken by the service on line 9; \
             give each service a name of its own",
        ),
        (
            second("b", "10.0.2.20", ""),
            "14: service b: address 10.0.2.20 already belongs to www; take another address of 10.0.2.0/24",
        ),
        (
            second("node", "10.0.2.21", ""),
            "12: service node: DNS name \"node.jitsu.test\" already belongs to the node; \
             give each service names of its own",
        ),
    ];
    for (text, expected) in table {
        let loaded = resolved(&text);
        assert_eq!(lines(&loaded.problems), [format!("jitsu.toml:{expected}")]);
        assert_eq!(loaded.config.services.len(), 1, "{expected}");
    }
}

#[test]
fn the_kernels_and_ramdisks_of_all_services_fit_into_memory_together() {
    let service = |name: &str, address: u8, kernel: &str| {
        format!(
            "[[service]]\nname = \"{name}\"\naddress = \"10.0.2.{address}\"\nkernel = \"{kernel}\"\n\
             memory = 64\n"
        )
    };
    let fits = [
        with("kernel = \"www\"", "kernel = \"linux\"\nmemory = 64"),
        service("second", 21, "www\"\nramdisk = \"40-mib"),
        // Kept once, so counted once.
        service("third", 22, "linux"),
    ];
    let loaded = resolved(&fits.concat());
    assert_eq!(lines(&loaded.problems), [""; 0]);
    let one_more = service("fourth", 23, "other-linux") + &service("fifth", 24, "www");
    let loaded = resolved(&(fits.concat() + &one_more));
    let expected = "jitsu.toml:27: service fourth: kernel /usr/lib/jitsu/kernels/other-linux has 20 MiB, too many \
                    beside the 61 MiB of those before it; make it smaller: all kernels and ramdisks together \
                    may have 64 MiB";
    assert_eq!(lines(&loaded.problems), [expected]);
    let names: Vec<_> = loaded.config.services.iter().map(|service| service.name.as_str()).collect();
    assert_eq!(names, ["www", "second", "third", "fifth"]);
}
