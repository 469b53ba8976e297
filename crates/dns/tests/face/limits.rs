//! How much of an answer is given, and that nothing sent breaks the face.

use crate::common::{Catalog, ask, ask_by, client, config, face, instance, question, read};
use dns::{Config, Face, Transport};
use domain::base::iana::Rtype;
use futures::FutureExt;
use proptest::prelude::*;

fn many(settings: Config, count: usize) -> Face {
    face(
        settings,
        Catalog::with((1..=count).map(|n| {
            let address = format!("10.1.{}.{}", n / 200, n % 200 + 1);
            instance("dc1", "web", &format!("node-with-a-long-name-{n}"), &address, 80)
        })),
    )
}

async fn sized(face: &Face, qtype: Rtype, payload: u16) -> crate::common::Seen {
    let message = question("web.service.consul", qtype, Some((payload, None)));
    let bytes = face.answer(&message, client(), Transport::Udp).await.unwrap();
    assert!(bytes.len() <= usize::from(payload.clamp(512, 8192)), "{} for {payload}", bytes.len());
    read(&bytes)
}

#[tokio::test]
async fn few_answers_without_edns() {
    let face = many(config(), 20);
    let seen = ask(&face, "web.service.consul", Rtype::A).await;
    assert_eq!((seen.answer.len(), seen.flags.as_str()), (3, "AA RD"));
    let seen = ask(&face, "web.service.consul", Rtype::SRV).await;
    assert_eq!((seen.answer.len(), seen.additional.len()), (3, 3));
    // Extras are those of the answers.
    for answer in &seen.answer {
        let target = answer.rsplit(' ').next().unwrap();
        assert!(seen.additional.iter().any(|extra| extra.starts_with(target)), "{seen:?}");
    }
    assert_eq!(sized(&face, Rtype::A, 512).await.answer.len(), 3);
    assert_eq!(ask_by(&face, "web.service.consul", Rtype::A, Transport::Tcp).await.answer.len(), 20);
    let generous = many(Config { udp_answer_limit: 100, ..config() }, 20);
    assert_eq!(ask(&generous, "web.service.consul", Rtype::A).await.answer.len(), 8);
    let none = many(Config { udp_answer_limit: 0, ..config() }, 20);
    assert_eq!(ask(&none, "web.service.consul", Rtype::A).await.answer.len(), 0);
}

#[tokio::test]
async fn few_answers_also_fit_in_full() {
    let host = "a-host-with-a-name-of-more-than-forty-letters-";
    let settings = || Config { udp_answer_limit: 8, node_meta_txt: true, ..config() };
    let catalog = |count| {
        Catalog::with((1..=count).map(|n| {
            let entry = instance("dc1", "web", &format!("{host}{n}"), &format!("10.1.0.{n}"), 80);
            entry.node(|node| drop(node.meta.insert("rack".to_owned(), "r".repeat(10))))
        }))
    };
    // Eight compressed answers are 512 bytes at most, but not when somebody on the way writes names in
    // full; and what is only told besides is left out first.
    let seen = ask(&face(settings(), catalog(9)), "web.service.consul", Rtype::SRV).await;
    assert_eq!((seen.answer.len(), seen.additional.len()), (2, 2), "{seen:?}");
    assert!(seen.additional.iter().all(|extra| extra.contains(" A 10.1.0.")), "{seen:?}");
    // Nothing is left out of what is whole.
    let seen = ask(&face(settings(), catalog(2)), "web.service.consul", Rtype::SRV).await;
    assert_eq!((seen.answer.len(), seen.additional.len()), (2, 4), "{seen:?}");
}

#[tokio::test]
async fn truncation_is_told_if_wanted() {
    let telling = many(Config { enable_truncate: true, ..config() }, 20);
    assert_eq!(ask(&telling, "web.service.consul", Rtype::A).await.flags, "AA TC RD");
    assert_eq!(ask(&telling, "node-with-a-long-name-1.node.consul", Rtype::A).await.flags, "AA RD");
    assert_eq!(sized(&telling, Rtype::A, 4096).await.flags, "AA RD");
}

#[tokio::test]
async fn a_datagram_is_as_large_as_the_sender_takes_it() {
    let face = many(config(), 100);
    let mut before = 0;
    for payload in [600, 1232, 2048, 4096] {
        let seen = sized(&face, Rtype::SRV, payload).await;
        assert!(seen.answer.len() > before, "{payload}");
        assert_eq!(seen.answer.len(), seen.additional.len());
        before = seen.answer.len();
        // The next one would not have fitted.
        assert!(seen.length + 120 > usize::from(payload), "{} of {payload}", seen.length);
    }
    // Names written in full leave room for less.
    let wordy = many(Config { disable_compression: true, ..config() }, 100);
    assert!(sized(&wordy, Rtype::SRV, 4096).await.answer.len() < before);
    // No sender gets more than a bound.
    assert!(sized(&many(config(), 1000), Rtype::A, 65_535).await.answer.len() < 600);
}

#[tokio::test]
async fn a_connection_carries_at_most_its_frame() {
    let face = many(config(), 1500);
    let bytes = face
        .answer(&question("web.service.consul", Rtype::SRV, None), client(), Transport::Tcp)
        .await
        .unwrap();
    assert!(bytes.len() <= 65_535 && bytes.len() > 65_000, "{}", bytes.len());
}

#[tokio::test]
async fn address_records_are_limited_everywhere() {
    let face = many(Config { a_record_limit: 2, ..config() }, 6);
    assert_eq!(ask(&face, "web.service.consul", Rtype::A).await.answer.len(), 2);
    assert_eq!(sized(&face, Rtype::A, 4096).await.answer.len(), 2);
    assert_eq!(ask_by(&face, "web.service.consul", Rtype::A, Transport::Tcp).await.answer.len(), 2);
    assert_eq!(ask_by(&face, "web.service.consul", Rtype::SRV, Transport::Tcp).await.answer.len(), 6);
}

#[tokio::test]
async fn what_does_not_fit_at_all_says_so() {
    let face = face(
        config(),
        Catalog::with([instance("dc1", "s", "n1", "10.1.0.1", 0)
            .node(|node| node.meta = [("rfc1035-k".into(), "v".repeat(900))].into())]),
    );
    // The text is left out beside an address, and cannot be beside nothing.
    let seen = ask(&face, "n1.node.consul", Rtype::A).await;
    assert_eq!((seen.answer.len(), seen.additional.len(), seen.flags.as_str()), (1, 0, "AA RD"));
    let seen = ask(&face, "n1.node.consul", Rtype::TXT).await;
    assert_eq!((seen.answer.len(), seen.flags.as_str()), (0, "AA TC RD"));
}

#[tokio::test]
async fn instances_are_shuffled() {
    let face = many(Config { a_record_limit: 1, ..config() }, 10);
    let mut seen = std::collections::HashSet::new();
    for _ in 0..200 {
        seen.extend(ask(&face, "web.service.consul", Rtype::A).await.answer);
    }
    assert_eq!(seen.len(), 10);
}

/// An answer to whatever has been sent, ready at once.
fn provoke(message: &[u8], transport: Transport) {
    let face = many(config(), 3);
    let answer = face.answer(message, client(), transport).now_or_never().expect("nothing to wait for");
    if let Some(answer) = answer {
        assert!(answer.len() >= 12 && answer[2] & 0x80 != 0);
        assert_eq!(answer[..2], message[..2]);
    }
}

proptest! {
    #[test]
    fn noise_is_survived(message in proptest::collection::vec(any::<u8>(), 0..200)) {
        provoke(&message, Transport::Udp);
        provoke(&message, Transport::Tcp);
    }

    #[test]
    fn damaged_queries_are_survived(
        labels in proptest::collection::vec("[a-z_.]{0,20}", 1..4),
        kind in "(service|node|query|addr|connect|ingress|x)",
        qtype in any::<u16>(),
        damage in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 0..6),
        cut in any::<proptest::sample::Index>(),
    ) {
        let name = format!("{}.{kind}.consul", labels.join("."));
        let Ok(_) = dns::parse_name(&name) else { return Ok(()) };
        let mut message = question(&name, Rtype::from_int(qtype), Some((1232, None)));
        for (at, value) in damage {
            let at = at.index(message.len());
            message[at] = value;
        }
        provoke(&message, Transport::Udp);
        message.truncate(cut.index(message.len()));
        provoke(&message, Transport::Tcp);
    }
}
