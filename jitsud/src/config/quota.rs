//! `quota` in the `[node]` table: what each guest may use up of XenStore.

use xenstore::Limits;

use super::reader::Reader;

const EXAMPLE: &str = "quota = { nodes = 2000 }";

/// A limit that is not XenStore's own, by XenStore's name for it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Quota {
    /// Its name.
    pub name: &'static str,
    /// Its value, at least 1.
    pub value: usize,
}

/// Reads the table. Of a key with a mistake, the default holds.
pub fn read(reader: &mut Reader<'_, '_>) -> Vec<Quota> {
    let Some((line, table)) = reader.table("quota", EXAMPLE) else { return Vec::new() };
    reader.within(line, table, |reader| {
        let names: Vec<&'static str> = Limits::quota_names().collect();
        reader.refuse_unknown(&names, "quota");
        let given = |name| {
            let value = reader.number(name, 1, u32::MAX, "for each guest")?.value;
            Some(Quota { name, value: value as usize })
        };
        names.into_iter().filter_map(given).collect()
    })
}
