//! A map whose keys are given out in rising order and never again, such as those of connections.

/// Values by key. Looking up costs a step or two, however many there are: a key that follows on its
/// neighbours', because none between them has gone, stands just as far from the first as it is greater.
pub(crate) struct Table<T> {
    /// Sorted by key. Boxed, since what comes after one that goes is moved.
    rows: Vec<(u64, Box<T>)>,
}

impl<T> Default for Table<T> {
    fn default() -> Table<T> {
        Table { rows: Vec::new() }
    }
}

impl<T> Table<T> {
    pub fn get(&self, key: u64) -> Option<&T> {
        self.find(key).ok().map(|at| &*self.rows[at].1)
    }

    pub fn get_mut(&mut self, key: u64) -> Option<&mut T> {
        self.find(key).ok().map(|at| &mut *self.rows[at].1)
    }

    /// Adds a value, or replaces that of the same key.
    pub fn insert(&mut self, key: u64, value: T) {
        match self.find(key) {
            Ok(at) => *self.rows[at].1 = value,
            Err(at) => self.rows.insert(at, (key, Box::new(value))),
        }
    }

    pub fn remove(&mut self, key: u64) -> Option<T> {
        self.find(key).ok().map(|at| *self.rows.remove(at).1)
    }

    pub fn iter(&self) -> impl Iterator<Item = (u64, &T)> {
        self.rows.iter().map(|(key, value)| (*key, &**value))
    }

    pub fn values(&self) -> impl Iterator<Item = &T> {
        self.rows.iter().map(|(_, value)| &**value)
    }

    pub fn values_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.rows.iter_mut().map(|(_, value)| &mut **value)
    }

    fn find(&self, key: u64) -> Result<usize, usize> {
        let first = self.rows.first().map_or(key, |(first, _)| *first);
        // No key before this one is missing from `first` on: it can only stand further ahead.
        let furthest = key.saturating_sub(first).min(self.rows.len() as u64) as usize;
        match self.rows.get(furthest) {
            Some((found, _)) if *found == key => Ok(furthest),
            _ => self.rows[..furthest].binary_search_by_key(&key, |(known, _)| *known),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn every_key_is_found_whatever_has_gone() {
        let mut table = Table::default();
        let mut model = BTreeMap::new();
        let mut seed = 5_u64;
        for key in 10..400 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            table.insert(key, key);
            model.insert(key, key);
            let gone = 10 + (seed >> 33) % 400;
            assert_eq!(table.remove(gone), model.remove(&gone));
            for key in 0..410 {
                assert_eq!(table.get(key), model.get(&key), "{key}");
                assert_eq!(table.get_mut(key), model.get_mut(&key));
            }
            assert!(table.iter().eq(model.iter().map(|(key, value)| (*key, value))));
        }
        let kept = *model.keys().next().unwrap();
        table.insert(kept, 7);
        assert_eq!((table.get(kept), table.values().count()), (Some(&7), model.len()));
    }
}
