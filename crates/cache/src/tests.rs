use std::sync::atomic::{AtomicU64, Ordering};

use futures::future::BoxFuture;
use model::catalog::{DatacentersRequest, IndexedServices};
use model::duration::GoDuration;
use model::methods::{CatalogListDatacenters, CatalogListServices};
use model::options::DcSpecificRequest;
use model::road::{ErasedCall, ErasedReply, RoadBackend};
use tokio::sync::watch;

use super::*;

/// A server whose services change when told, and that can be cut off.
struct Server {
    version: watch::Sender<u64>,
    broken: watch::Sender<bool>,
    calls: AtomicU64,
}

impl RoadBackend for Server {
    fn call(&self, call: ErasedCall) -> BoxFuture<'_, Result<ErasedReply, RpcError>> {
        Box::pin(async move {
            self.calls.fetch_add(1, Ordering::SeqCst);
            if *self.broken.borrow() {
                return Err(RpcError::no_leader());
            }
            if call.info.name == "Catalog.ListDatacenters" {
                return Ok(Box::new(vec![format!("dc{}", *self.version.borrow())]) as ErasedReply);
            }
            let known = call.args.routing().query_options().map_or(0, |query| query.min_query_index);
            let mut changes = self.version.subscribe();
            let mut broken = self.broken.subscribe();
            tokio::select! {
                _ = changes.wait_for(|version| *version > known) => {}
                _ = broken.wait_for(|broken| *broken) => return Err(RpcError::no_leader()),
            }
            let mut reply = IndexedServices::default();
            reply.meta.index = *self.version.borrow();
            Ok(Box::new(reply) as ErasedReply)
        })
    }
}

fn server() -> (Arc<Server>, Cache) {
    let server = Arc::new(Server {
        version: watch::Sender::new(5),
        broken: watch::Sender::new(false),
        calls: AtomicU64::new(0),
    });
    let cache = Cache::new(Road::new(Arc::clone(&server) as Arc<dyn RoadBackend>));
    (server, cache)
}

fn services(index: u64, wait_millis: i64) -> DcSpecificRequest {
    let mut args = DcSpecificRequest::default();
    args.options.min_query_index = index;
    args.options.max_query_time = GoDuration::from_millis(wait_millis);
    args
}

#[tokio::test(start_paused = true)]
async fn refreshed_entries_follow_the_server() {
    let (server, cache) = server();
    let get = |index, wait| cache.get::<CatalogListServices>(services(index, wait), CacheKind::Refreshed);
    let (reply, freshness) = get(0, 0).await.unwrap();
    assert_eq!((reply.meta.index, freshness.hit), (5, false));
    let (_, freshness) = get(0, 0).await.unwrap();
    assert!(freshness.hit);
    // A blocked request with a known index returns with the change.
    let (blocked, ()) = tokio::join!(get(5, 60_000), async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        server.version.send_replace(6);
    });
    let (reply, freshness) = blocked.unwrap();
    assert_eq!((reply.meta.index, freshness.hit), (6, false));
    // Unchanged until the wait is over.
    let (reply, _) = get(6, 500).await.unwrap();
    assert_eq!(reply.meta.index, 6);
    // Cut off: the last answer, with a growing age.
    server.broken.send_replace(true);
    tokio::time::sleep(Duration::from_secs(1)).await;
    let (reply, freshness) = get(0, 0).await.unwrap();
    assert_eq!((reply.meta.index, freshness.hit), (6, true));
}

#[tokio::test(start_paused = true)]
async fn failures_without_an_answer_are_not_remembered() {
    let (server, cache) = server();
    server.broken.send_replace(true);
    let get = || cache.get::<CatalogListServices>(services(0, 0), CacheKind::Refreshed);
    assert_eq!(get().await.unwrap_err().kind(), ErrorKind::NoLeader);
    server.broken.send_replace(false);
    assert_eq!(get().await.unwrap().0.meta.index, 5);
}

#[tokio::test(start_paused = true)]
async fn simple_entries_have_an_age() {
    let (server, cache) = server();
    let get = |query: QueryOptions| {
        cache.get::<CatalogListDatacenters>(DatacentersRequest { options: query }, CacheKind::Simple)
    };
    assert!(!get(QueryOptions::default()).await.unwrap().1.hit);
    assert!(get(QueryOptions::default()).await.unwrap().1.hit);
    let fresh = QueryOptions { must_revalidate: true, ..QueryOptions::default() };
    assert!(!get(fresh.clone()).await.unwrap().1.hit);
    server.broken.send_replace(true);
    assert!(get(fresh.clone()).await.is_err());
    let lenient = QueryOptions { stale_if_error: GoDuration::from_secs(60), ..fresh };
    assert!(get(lenient).await.unwrap().1.hit);
    assert_eq!(server.calls.load(Ordering::SeqCst), 4);
}

#[tokio::test(start_paused = true)]
async fn tokens_do_not_share_entries() {
    let (_, cache) = server();
    let get = |token: &str| {
        let query = QueryOptions { token: token.to_owned(), ..QueryOptions::default() };
        cache.get::<CatalogListDatacenters>(DatacentersRequest { options: query }, CacheKind::Simple)
    };
    assert!(!get("one").await.unwrap().1.hit);
    assert!(!get("two").await.unwrap().1.hit);
}

#[tokio::test(start_paused = true)]
async fn the_number_of_entries_is_bounded() {
    let (_, cache) = server();
    for number in 0..=MAX_ENTRIES {
        let query = QueryOptions { filter: number.to_string(), ..QueryOptions::default() };
        cache
            .get::<CatalogListDatacenters>(DatacentersRequest { options: query }, CacheKind::Simple)
            .await
            .unwrap();
    }
    assert_eq!(cache.slots.lock().len(), MAX_ENTRIES);
}
