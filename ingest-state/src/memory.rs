//! A store in memory: for tests, and as the reference of what the contract means.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;

use crate::error::StoreError;
use crate::store::{Created, Listed, LogStore, Object, ObjectHead, Version};

/// A [`LogStore`] in memory. Clones share their objects.
#[derive(Debug, Clone, Default)]
pub struct MemoryStore {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default, Clone)]
struct State {
    objects: BTreeMap<String, (u64, Bytes)>,
    writes: u64,
}

impl MemoryStore {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    /// All keys and contents, in order of the keys.
    pub fn dump(&self) -> BTreeMap<String, Bytes> {
        self.lock()
            .objects
            .iter()
            .map(|(k, (_, bytes))| (k.clone(), bytes.clone()))
            .collect()
    }

    /// A store of its own with the same objects.
    #[must_use]
    pub fn fork(&self) -> Self {
        Self {
            state: Arc::new(Mutex::new(self.lock().clone())),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn put(&mut self, key: &str, body: Bytes) {
        self.writes += 1;
        self.objects.insert(key.to_owned(), (self.writes, body));
    }

    fn head(&self, key: &str) -> Option<ObjectHead> {
        let (version, bytes) = self.objects.get(key)?;
        let version = Version(version.to_string());
        Some(ObjectHead {
            key: key.to_owned(),
            size: bytes.len() as u64,
            version,
        })
    }
}

#[async_trait]
impl LogStore for MemoryStore {
    async fn create(&self, key: &str, body: Bytes) -> Result<Created, StoreError> {
        let mut state = self.lock();
        if state.objects.contains_key(key) {
            return Ok(Created::Exists);
        }
        state.put(key, body);
        Ok(Created::Created)
    }

    async fn overwrite(&self, key: &str, body: Bytes) -> Result<(), StoreError> {
        self.lock().put(key, body);
        Ok(())
    }

    async fn get(&self, key: &str) -> Result<Option<Object>, StoreError> {
        let state = self.lock();
        Ok(state.head(key).map(|head| Object {
            head,
            bytes: state.objects[key].1.clone(),
        }))
    }

    async fn head(&self, key: &str) -> Result<Option<ObjectHead>, StoreError> {
        Ok(self.lock().head(key))
    }

    async fn get_range(&self, object: &ObjectHead, range: Range<u64>) -> Result<Bytes, StoreError> {
        let state = self.lock();
        let same = state
            .head(&object.key)
            .is_some_and(|head| head.version == object.version);
        if !same {
            return Err(StoreError::Changed {
                key: object.key.clone(),
            });
        }
        let bytes = &state.objects[&object.key].1;
        let end = range.end.min(bytes.len() as u64);
        Ok(bytes.slice(range.start.min(end) as usize..end as usize))
    }

    async fn list(&self, prefix: &str) -> Result<Vec<Listed>, StoreError> {
        let state = self.lock();
        let from = state.objects.range(prefix.to_owned()..);
        Ok(from
            .take_while(|(key, _)| key.starts_with(prefix))
            .map(|(key, (_, bytes))| Listed {
                key: key.clone(),
                size: bytes.len() as u64,
            })
            .collect())
    }

    async fn delete(&self, key: &str) -> Result<(), StoreError> {
        self.lock().objects.remove(key);
        Ok(())
    }
}
