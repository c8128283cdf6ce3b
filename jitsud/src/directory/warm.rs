//! What the front may answer by itself, and what it has answered. See [`crate::summoner::Warm`].

use super::*;

impl Directory {
    /// From now on the front may answer by itself for those who are ready.
    pub fn share(&mut self, now: Moment, warm: Arc<Warm>) {
        warm.begin(self.entries.iter().map(|entry| entry.service().address));
        for (index, entry) in self.entries.iter().enumerate() {
            if let Some(host) = entry.host() {
                warm.bind(ServiceId(index), host);
            }
        }
        self.warm = warm;
        self.publish(now);
    }

    /// Takes in what the front has answered. Every input does that; to be called besides before the directory is described.
    pub fn take_in(&mut self, now: Moment) {
        let warm = Arc::clone(&self.warm);
        for told in warm.take() {
            if let Some(entry) = self.entries.get_mut(told.service.0) {
                entry.told(now, told.count, told.last);
            }
        }
    }

    pub(super) fn publish(&self, now: Moment) {
        for (index, entry) in self.entries.iter().enumerate() {
            self.warm.set(ServiceId(index), entry.temperature(now));
        }
    }
}
