use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result, UploadPart,
};

/// What was asked of a [`CountingStore`] so far. Calls count when they are made, whatever comes of
/// them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Counts {
    /// Whole-object writes over what is there.
    pub puts: u64,
    /// Whole-object writes if absent.
    pub creates: u64,
    /// Reads, whole or ranged.
    pub gets: u64,
    /// Reads of the head alone.
    pub heads: u64,
    /// Listings.
    pub lists: u64,
    /// Deletions, by object.
    pub deletes: u64,
    /// Multipart uploads that were started.
    pub uploads: u64,
    /// Parts sent.
    pub parts: u64,
    /// Multipart uploads that were completed.
    pub completed: u64,
    /// Multipart uploads that were aborted.
    pub aborted: u64,
    /// Bytes of writes and parts.
    pub bytes_up: u64,
    /// Bytes that reads answered.
    pub bytes_down: u64,
    /// The largest single answer or payload, in bytes.
    pub largest_bytes: u64,
}

#[derive(Debug, Default)]
struct Tally {
    puts: AtomicU64,
    creates: AtomicU64,
    gets: AtomicU64,
    heads: AtomicU64,
    lists: AtomicU64,
    deletes: AtomicU64,
    uploads: AtomicU64,
    parts: AtomicU64,
    completed: AtomicU64,
    aborted: AtomicU64,
    up: AtomicU64,
    down: AtomicU64,
    largest: AtomicU64,
}

fn add(counter: &AtomicU64, n: u64) {
    counter.fetch_add(n, Ordering::Relaxed);
}

impl Tally {
    fn up(&self, bytes: usize) {
        add(&self.up, bytes as u64);
        self.largest.fetch_max(bytes as u64, Ordering::Relaxed);
    }

    fn down(&self, bytes: u64) {
        add(&self.down, bytes);
        self.largest.fetch_max(bytes, Ordering::Relaxed);
    }
}

/// Counts what is asked of the store inside it. Clones share the counts.
#[derive(Debug, Clone)]
pub struct CountingStore {
    inner: Arc<dyn ObjectStore>,
    tally: Arc<Tally>,
}

impl CountingStore {
    /// Wraps a store.
    pub fn new(inner: Arc<dyn ObjectStore>) -> Self {
        Self {
            inner,
            tally: Arc::default(),
        }
    }

    /// The counts so far.
    pub fn counts(&self) -> Counts {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let t = &self.tally;
        Counts {
            puts: get(&t.puts),
            creates: get(&t.creates),
            gets: get(&t.gets),
            heads: get(&t.heads),
            lists: get(&t.lists),
            deletes: get(&t.deletes),
            uploads: get(&t.uploads),
            parts: get(&t.parts),
            completed: get(&t.completed),
            aborted: get(&t.aborted),
            bytes_up: get(&t.up),
            bytes_down: get(&t.down),
            largest_bytes: get(&t.largest),
        }
    }
}

impl fmt::Display for CountingStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Counting({})", self.inner)
    }
}

#[async_trait]
impl ObjectStore for CountingStore {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        opts: PutOptions,
    ) -> Result<PutResult> {
        let create = matches!(opts.mode, PutMode::Create);
        add(
            if create {
                &self.tally.creates
            } else {
                &self.tally.puts
            },
            1,
        );
        self.tally.up(payload.content_length());
        self.inner.put_opts(location, payload, opts).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        opts: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        add(&self.tally.uploads, 1);
        let inner = self.inner.put_multipart_opts(location, opts).await?;
        Ok(Box::new(CountingUpload {
            inner,
            tally: Arc::clone(&self.tally),
        }))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let head = options.head;
        add(
            if head {
                &self.tally.heads
            } else {
                &self.tally.gets
            },
            1,
        );
        let answer = self.inner.get_opts(location, options).await?;
        if !head {
            self.tally.down(answer.range.end - answer.range.start);
        }
        Ok(answer)
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        add(&self.tally.gets, 1);
        let answer = self.inner.get_ranges(location, ranges).await?;
        answer
            .iter()
            .for_each(|bytes| self.tally.down(bytes.len() as u64));
        Ok(answer)
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        let tally = Arc::clone(&self.tally);
        self.inner
            .delete_stream(locations.inspect(move |_| add(&tally.deletes, 1)).boxed())
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        add(&self.tally.lists, 1);
        self.inner.list(prefix)
    }

    fn list_with_offset(
        &self,
        prefix: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        add(&self.tally.lists, 1);
        self.inner.list_with_offset(prefix, offset)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        add(&self.tally.lists, 1);
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

#[derive(Debug)]
struct CountingUpload {
    inner: Box<dyn MultipartUpload>,
    tally: Arc<Tally>,
}

#[async_trait]
impl MultipartUpload for CountingUpload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        add(&self.tally.parts, 1);
        self.tally.up(data.content_length());
        self.inner.put_part(data)
    }

    async fn complete(&mut self) -> Result<PutResult> {
        add(&self.tally.completed, 1);
        self.inner.complete().await
    }

    async fn abort(&mut self) -> Result<()> {
        add(&self.tally.aborted, 1);
        self.inner.abort().await
    }
}
