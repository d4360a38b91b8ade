use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use futures_util::stream::BoxStream;
use object_store::memory::InMemory;
use object_store::path::Path as ObjectPath;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, ObjectStoreExt,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};

use super::bucket::Client;
use super::*;
use crate::telemetry::Metrics;

/// A store in memory that fails when told to.
#[derive(Debug, Default)]
struct Store {
    memory: InMemory,
    puts_fail: AtomicBool,
    gets_fail: AtomicBool,
}

impl fmt::Display for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a store of a test")
    }
}

fn fail(switch: &AtomicBool) -> Result<()> {
    let error = || object_store::Error::Generic { store: "test", source: "away".into() };
    if switch.load(Ordering::Relaxed) { Err(error()) } else { Ok(()) }
}

#[async_trait]
impl ObjectStore for Store {
    async fn put_opts(&self, at: &ObjectPath, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        fail(&self.puts_fail)?;
        self.memory.put_opts(at, payload, options).await
    }

    async fn put_multipart_opts(&self, at: &ObjectPath, o: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        self.memory.put_multipart_opts(at, o).await
    }

    async fn get_opts(&self, at: &ObjectPath, options: GetOptions) -> Result<GetResult> {
        fail(&self.gets_fail)?;
        self.memory.get_opts(at, options).await
    }

    fn delete_stream(&self, all: BoxStream<'static, Result<ObjectPath>>) -> BoxStream<'static, Result<ObjectPath>> {
        self.memory.delete_stream(all)
    }

    fn list(&self, prefix: Option<&ObjectPath>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.memory.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&ObjectPath>) -> Result<ListResult> {
        self.memory.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &ObjectPath, to: &ObjectPath, options: CopyOptions) -> Result<()> {
        self.memory.copy_opts(from, to, options).await
    }
}

fn client(store: &Arc<Store>) -> Client {
    let writer = Arc::clone(store);
    Client {
        reader: Arc::clone(store) as Arc<dyn ObjectStore>,
        writer: Box::new(move |_| Ok(Arc::clone(&writer) as Arc<dyn ObjectStore>)),
        url: "s3://evidence".to_owned(),
        prefix: ObjectPath::from("audit"),
        host: "edge-1".to_owned(),
    }
}

const KEY: &str = "audit/dt=2026-11-23/host=edge-1/audit-0-000000000001.jsonl.zst";

fn segment_text(first: u64) -> String {
    format!(
        "{{\"seq\":{first},\"prev\":\"\",\"event\":\"begin\",\"time\":\"2026-11-23T23:59:59Z\"}}\n\
         {{\"seq\":{},\"prev\":\"\",\"event\":\"checkpoint\",\"closes\":true}}\n",
        first + 1
    )
}

/// A folder with so many closed segments of one chain.
fn folder(segments: u64) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for first in (0..segments).map(|at| at * 2 + 1) {
        let name = segment::SegmentName { chain: 0, first };
        std::fs::write(folder.path().join(name.to_string()), segment_text(first)).unwrap();
    }
    std::fs::write(folder.path().join("notes.txt"), "of somebody else").unwrap();
    folder
}

fn only(folder: &tempfile::TempDir) -> ClosedSegment {
    segment::closed(folder.path()).unwrap().remove(0)
}

fn names(folder: &tempfile::TempDir) -> Vec<String> {
    let entries = std::fs::read_dir(folder.path()).unwrap();
    let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[tokio::test]
async fn an_object_holds_the_segment_under_the_day_of_its_first_record() {
    let (folder, store) = (folder(1), Arc::<Store>::default());
    let marker = upload::ship(&client(&store), &only(&folder), SystemTime::now()).await.unwrap();
    assert_eq!(marker.key, format!("s3://evidence/{KEY}"));
    let object = store.memory.get(&ObjectPath::from(KEY)).await.unwrap().bytes().await.unwrap();
    assert_eq!(zstd::stream::decode_all(&*object).unwrap(), segment_text(1).into_bytes());
    assert!(Marker::stands(&only(&folder)));
    let written = std::fs::read(folder.path().join("audit-0-000000000001.jsonl.shipped")).unwrap();
    assert_eq!(serde_json::from_slice::<Marker>(&written).unwrap(), marker);
}

#[tokio::test]
async fn whatever_step_fails_the_next_round_goes_on_from_there() {
    let (folder, store) = (folder(1), Arc::<Store>::default());
    let (client, segment) = (client(&store), only(&folder));
    store.puts_fail.store(true, Ordering::Relaxed);
    assert_eq!(upload::ship(&client, &segment, SystemTime::now()).await.unwrap_err().kind(), "store");
    assert!(!Marker::stands(&segment));
    store.puts_fail.store(false, Ordering::Relaxed);
    store.gets_fail.store(true, Ordering::Relaxed);
    assert_eq!(upload::ship(&client, &segment, SystemTime::now()).await.unwrap_err().kind(), "store");
    assert!(!Marker::stands(&segment), "what was not read back is not shipped");
    store.gets_fail.store(false, Ordering::Relaxed);
    let in_the_way = marker::path(&segment.path);
    std::fs::create_dir(&in_the_way).unwrap();
    assert_eq!(upload::ship(&client, &segment, SystemTime::now()).await.unwrap_err().kind(), "local");
    assert!(!Marker::stands(&segment));
    std::fs::remove_dir(&in_the_way).unwrap();
    upload::ship(&client, &segment, SystemTime::now()).await.unwrap();
    assert!(Marker::stands(&segment));
    assert_eq!(names(&folder).len(), 3, "no draft is left: {:?}", names(&folder));
}

#[tokio::test]
async fn an_object_that_is_there_counts_when_it_holds_the_same_records() {
    for (level, text, expected) in [(19, segment_text(1), None), (3, segment_text(3), Some("conflict"))] {
        let (folder, store) = (folder(1), Arc::<Store>::default());
        let other = zstd::stream::encode_all(text.as_bytes(), level).unwrap();
        store.memory.put(&ObjectPath::from(KEY), other.clone().into()).await.unwrap();
        let shipped = upload::ship(&client(&store), &only(&folder), SystemTime::now()).await;
        assert_eq!(shipped.as_ref().err().map(Failure::kind), expected);
        assert_eq!(Marker::stands(&only(&folder)), expected.is_none());
        let kept = store.memory.get(&ObjectPath::from(KEY)).await.unwrap().bytes().await.unwrap();
        assert_eq!(kept, other, "nothing is overwritten");
    }
}

#[tokio::test]
async fn a_marker_of_another_length_confirms_nothing() {
    let (folder, store) = (folder(1), Arc::<Store>::default());
    let segment = only(&folder);
    upload::ship(&client(&store), &segment, SystemTime::now()).await.unwrap();
    std::fs::write(&segment.path, segment_text(100)).unwrap();
    assert!(!Marker::stands(&segment));
}

#[tokio::test]
async fn only_what_is_confirmed_leaves_this_host_and_never_a_chains_newest() {
    let (folder, store) = (folder(4), Arc::<Store>::default());
    let metrics = Metrics::new().unwrap().ship;
    let closed = segment::closed(folder.path()).unwrap();
    for segment in [&closed[0], &closed[2], &closed[3]] {
        upload::ship(&client(&store), segment, SystemTime::now()).await.unwrap();
    }
    let later = SystemTime::now() + Duration::from_secs(3600);
    let day = KeepConfig { max_age: Some(Duration::from_secs(86_400)), max_size: None };
    keep::enforce(folder.path(), &closed, day, true, later, &metrics);
    assert_eq!(metrics.deleted.get(), 0, "none is old enough");
    let minute = KeepConfig { max_age: Some(Duration::from_secs(60)), max_size: None };
    keep::enforce(folder.path(), &closed, minute, true, later, &metrics);
    let left = ["audit-0-000000000003.jsonl", "audit-0-000000000007.jsonl", "audit-0-000000000007.jsonl.shipped"];
    assert_eq!(names(&folder), [&left[..], &["notes.txt"]].concat());
    assert_eq!(metrics.deleted.get(), 2);
    let nothing = KeepConfig { max_age: None, max_size: Some(1) };
    let closed = segment::closed(folder.path()).unwrap();
    keep::enforce(folder.path(), &closed, nothing, false, later, &metrics);
    assert_eq!(names(&folder), [left[1], left[2], "notes.txt"], "without a bucket size alone decides");
}

#[test]
fn the_oldest_go_until_the_size_fits() {
    let folder = folder(4);
    let metrics = Metrics::new().unwrap().ship;
    let closed = segment::closed(folder.path()).unwrap();
    let two = KeepConfig { max_age: None, max_size: Some(2 * segment_text(1).len() as u64) };
    keep::enforce(folder.path(), &closed, two, false, SystemTime::now(), &metrics);
    assert_eq!(names(&folder), ["audit-0-000000000005.jsonl", "audit-0-000000000007.jsonl", "notes.txt"]);
}

#[test]
fn waits_double_up_to_a_bound_and_differ() {
    assert_eq!(back_off(1, 0), FIRST_WAIT);
    assert_eq!(back_off(3, 0), FIRST_WAIT * 4);
    assert_eq!(back_off(3, 50), FIRST_WAIT * 2);
    assert_eq!(back_off(u32::MAX, 0), LONGEST_WAIT);
}
