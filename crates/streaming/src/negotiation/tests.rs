//! What clients offer and what is answered, as a table.

use super::*;

fn headers(lines: &[(&'static str, &'static str)]) -> HeaderMap {
    let lines = lines.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
    lines.fold(HeaderMap::new(), |mut headers, (name, value)| {
        headers.append(name, value);
        headers
    })
}

const SPDY_UPGRADE: [(&str, &str); 2] = [("connection", "Upgrade"), ("upgrade", "SPDY/3.1")];
const WEBSOCKET_UPGRADE: [(&str, &str); 4] = [
    ("connection", "keep-alive, Upgrade"),
    ("upgrade", "websocket"),
    ("sec-websocket-version", "13"),
    ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
];

/// The name of the protocol that is agreed upon, or the status of the refusal.
fn outcome(purpose: Purpose, method: Method, lines: &[(&'static str, &'static str)]) -> Result<&'static str, u16> {
    let agreed = negotiate(purpose, &method, &headers(lines));
    agreed.map(|agreement| agreement.protocol.name).map_err(|refused| refused.status.as_u16())
}

#[test]
fn the_first_known_version_that_a_client_of_spdy_offers_counts() {
    for (purpose, offered, expected) in [
        (Purpose::Command, "v5.channel.k8s.io, v4.channel.k8s.io, v3.channel.k8s.io", Ok("v4.channel.k8s.io")),
        (Purpose::Command, "v3.channel.k8s.io,v4.channel.k8s.io", Ok("v3.channel.k8s.io")),
        (Purpose::Command, "channel.k8s.io", Ok("channel.k8s.io")),
        (Purpose::Command, "portforward.k8s.io", Err(403)),
        (Purpose::Command, "", Err(400)),
        (Purpose::PortForward, "portforward.k8s.io", Ok("portforward.k8s.io")),
        (Purpose::PortForward, "v4.channel.k8s.io", Err(403)),
    ] {
        for method in [Method::GET, Method::POST] {
            let lines = [&SPDY_UPGRADE[..], &[("x-stream-protocol-version", offered)]].concat();
            assert_eq!(outcome(purpose, method, &lines), expected, "{offered}");
        }
    }
    assert_eq!(outcome(Purpose::Command, Method::POST, &SPDY_UPGRADE), Err(400));
}

#[test]
fn offers_may_stand_on_several_lines() {
    let lines = [
        ("connection", "upgrade"),
        ("upgrade", "spdy/3.1"),
        ("x-stream-protocol-version", "v9.channel.k8s.io"),
        ("x-stream-protocol-version", "v2.channel.k8s.io"),
    ];
    assert_eq!(outcome(Purpose::Command, Method::POST, &lines), Ok("v2.channel.k8s.io"));
}

#[test]
fn subprotocols_of_websocket_are_chosen_as_offered() {
    for (purpose, offered, expected) in [
        (Purpose::Command, Some("v5.channel.k8s.io"), Ok("v5.channel.k8s.io")),
        (Purpose::Command, Some("x, v4.base64.channel.k8s.io"), Ok("v4.base64.channel.k8s.io")),
        (Purpose::Command, Some("base64.channel.k8s.io"), Ok("base64.channel.k8s.io")),
        (Purpose::Command, None, Ok("")),
        (Purpose::Command, Some("chat"), Err(403)),
        (Purpose::PortForward, Some("SPDY/3.1+portforward.k8s.io"), Ok("SPDY/3.1+portforward.k8s.io")),
        (Purpose::PortForward, Some("v4.channel.k8s.io"), Ok("v4.channel.k8s.io")),
        (Purpose::PortForward, Some("v5.channel.k8s.io"), Ok("v5.channel.k8s.io")),
        (Purpose::PortForward, Some("channel.k8s.io"), Err(403)),
    ] {
        let offer: Vec<_> = offered.map(|name| ("sec-websocket-protocol", name)).into_iter().collect();
        let lines = [&WEBSOCKET_UPGRADE[..], &offer].concat();
        assert_eq!(outcome(purpose, Method::GET, &lines), expected, "{offered:?}");
        assert_eq!(outcome(purpose, Method::POST, &lines), Err(405), "{offered:?}");
    }
}

#[test]
fn requests_that_are_no_upgrade_are_refused() {
    assert_eq!(outcome(Purpose::Command, Method::GET, &[]), Err(400));
    assert_eq!(outcome(Purpose::Command, Method::GET, &[("upgrade", "websocket")]), Err(400));
    assert_eq!(outcome(Purpose::Command, Method::GET, &[("connection", "upgrade"), ("upgrade", "h2c")]), Err(400));
    assert_eq!(outcome(Purpose::Command, Method::PUT, &SPDY_UPGRADE), Err(405));
    assert_eq!(outcome(Purpose::Command, Method::GET, &WEBSOCKET_UPGRADE[..3]), Err(400));
    assert_eq!(outcome(Purpose::Command, Method::GET, &WEBSOCKET_UPGRADE[..2]), Err(426));
}

#[test]
fn a_refusal_names_the_versions_that_are_spoken() {
    let lines = [&SPDY_UPGRADE[..], &[("x-stream-protocol-version", "v9.channel.k8s.io")]].concat();
    let refused = negotiate(Purpose::Command, &Method::POST, &headers(&lines)).unwrap_err();
    assert!(refused.headers.iter().all(|(name, _)| *name == ACCEPTED_PROTOCOLS));
    let names: Vec<_> = refused.headers.iter().map(|(_, value)| *value).collect();
    assert_eq!(names, ["v4.channel.k8s.io", "v3.channel.k8s.io", "v2.channel.k8s.io", "channel.k8s.io"]);
}

#[test]
fn the_answer_says_what_was_chosen() {
    let lines = [&SPDY_UPGRADE[..], &[("x-stream-protocol-version", "v4.channel.k8s.io")]].concat();
    let agreed = negotiate(Purpose::Command, &Method::POST, &headers(&lines)).unwrap();
    assert_eq!(agreed.headers[UPGRADE], "SPDY/3.1");
    assert_eq!(agreed.headers[CONNECTION], "Upgrade");
    assert_eq!(agreed.headers[STREAM_PROTOCOL], "v4.channel.k8s.io");

    let lines = [&WEBSOCKET_UPGRADE[..], &[("sec-websocket-protocol", "v5.channel.k8s.io")]].concat();
    let agreed = negotiate(Purpose::Command, &Method::GET, &headers(&lines)).unwrap();
    assert_eq!(agreed.headers[UPGRADE], "websocket");
    assert_eq!(agreed.headers[SEC_WEBSOCKET_ACCEPT], "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    assert_eq!(agreed.headers[SEC_WEBSOCKET_PROTOCOL], "v5.channel.k8s.io");

    let agreed = negotiate(Purpose::Command, &Method::GET, &headers(&WEBSOCKET_UPGRADE)).unwrap();
    assert!(!agreed.headers.contains_key(SEC_WEBSOCKET_PROTOCOL));
}
