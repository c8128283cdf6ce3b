//! Connections that were opened on a guest's behalf, on their way to it: nodes in XenStore. The crate `handover` has the
//! protocol.
//!
//! The nodes go with the guest's others when it ends; they are not worth a change of their own before.

use std::time::Duration;

use handover::{RECORDS, Record, TAKEN, pack};
use xen_sys::DomId;
use xenstore::{Access, Change, Perms};

use crate::domain::nodes;

/// How long a guest may take to say that it has its connections: a thousand times what it takes. Then it has its address
/// without, and resets them.
pub const PATIENCE: Duration = Duration::from_secs(3);

/// The nodes that tell a guest of its connections, to be written at once, and how many of these are in them. There is
/// room for as many as a guest can be promised ([`handover::Offer`]).
pub fn nodes(domid: DomId, records: &[Record]) -> (Vec<Change>, usize) {
    let perms = Perms::new(DomId::DOM0, Access::None).with(domid, Access::Read);
    let path = format!("{}/{RECORDS}", nodes::home(domid));
    let (values, count) = pack(records);
    let changes = values.into_iter().enumerate().map(|(number, value)| {
        let path = if number == 0 { path.clone() } else { format!("{path}/{number}") };
        Change::Write { path, value, perms: Some(perms.clone()) }
    });
    // The guest looks when the first one is there.
    (changes.rev().collect(), count)
}

/// The key by which a guest says that it has them.
pub fn taken(domid: DomId) -> String {
    format!("{}/{TAKEN}", nodes::home(domid))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use handover::{State, further, unpack};
    use xenstore::{Limits, Store};

    const GUEST: DomId = DomId(7);

    pub(crate) fn record(port: u16, length: usize) -> Record {
        Record {
            state: State::Established,
            local: ([10, 0, 2, 20], 80).into(),
            remote: ([10, 0, 2, 2], port).into(),
            mac: [2, 0, 0, 0, 0, 9],
            iss: 1,
            irs: 2,
            snd_una: 2,
            snd_nxt: 2,
            snd_wnd: 64240,
            snd_wl1: 3,
            snd_wl2: 2,
            rcv_nxt: 3 + length as u32,
            mss: 1460,
            window_scales: None,
            sack: true,
            timestamps: None,
            data: vec![port as u8; length],
        }
    }

    #[test]
    fn a_guest_finds_its_connections_and_cannot_change_them() {
        let records: Vec<_> = (0..16).map(|port| record(port, 2048)).collect();
        let mut store = Store::new(Limits::default());
        let (changes, count) = nodes(GUEST, &records);
        assert_eq!(count, records.len());
        store.commit(&changes).expect("a commit");
        let first = "/local/domain/7/control/handover";
        let (others, bytes) = further(store.read(first).expect("a node")).expect("a first value");
        let mut bytes = bytes.to_vec();
        for path in (1..=others).map(|number| format!("{first}/{number}")).chain([first.to_owned()]) {
            let perms = store.perms(&path).expect("a node");
            assert_eq!(perms.owner(), DomId::DOM0);
            let [perm] = perms.entries()[1..] else { panic!("{perms:?}") };
            assert!(perm.domid == GUEST && !perm.access.writes());
        }
        (1..=others).for_each(|number| {
            bytes.extend(store.read(&format!("{first}/{number}")).expect("a node"));
        });
        assert_eq!(unpack(&bytes), Ok(records));
        assert_eq!(nodes(GUEST, &[]), (vec![], 0));
    }
}
