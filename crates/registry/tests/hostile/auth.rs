//! Who proves what to whom.

use cradle_domain::{Class, Classified};
use cradle_registry::Credentials;
use cradle_testkit::registry::{Behaviour, Guard, Registry, TokenServer};

use super::{Setup, fetch, image, noise, password, registry};

fn tokens(user: Option<&str>) -> TokenServer {
    TokenServer { user: user.map(str::to_owned), identity_token: None, token: "good".into(), expires_in: 300 }
}

/// A registry that wants tokens, and the server that gives them.
fn guarded(tokens: TokenServer) -> (Registry, Registry) {
    let (registry, server) = (registry(), Registry::start());
    server.serve_tokens(tokens);
    registry.guard(Guard::Bearer { realm: format!("{}/token", server.url()), token: "good".into() });
    (registry, server)
}

#[tokio::test]
async fn a_password_is_sent_when_it_is_asked_for_and_then_at_once() {
    let registry = registry();
    registry.guard(Guard::Basic("me:secret".into()));
    let setup = Setup::with_server(&registry);
    let client = setup.client();
    client.resolve(&image(), Some(&password("me:secret"))).await.unwrap();
    client.resolve(&image(), Some(&password("me:secret"))).await.unwrap();
    let sent: Vec<_> = registry.requests().iter().map(|seen| seen.header("authorization").is_some()).collect();
    assert_eq!(sent, [false, true, true]);
}

#[tokio::test]
async fn a_wrong_password_is_denied_after_one_try() {
    let registry = registry();
    registry.guard(Guard::Basic("me:secret".into()));
    let setup = Setup::with_server(&registry);
    let error = setup.client().resolve(&image(), Some(&password("me:wrong"))).await.unwrap_err();
    assert_eq!(error.class(), Class::Denied);
    assert_eq!(registry.requests().len(), 2);
    let text = error.to_string();
    assert!(text.contains("authentication required") && text.contains("a password from the request"), "{text}");
    assert!(!text.contains("wrong"), "no secret in an error: {text}");
}

#[tokio::test]
async fn one_users_proof_is_not_another_users() {
    let registry = registry();
    registry.guard(Guard::Basic("me:secret".into()));
    let setup = Setup::with_server(&registry);
    let client = setup.client();
    client.resolve(&image(), Some(&password("me:secret"))).await.unwrap();
    assert!(client.resolve(&image(), Some(&password("you:guess"))).await.is_err());
    let error = client.resolve(&image(), None).await.unwrap_err();
    assert!(error.to_string().contains("no credentials were sent: none are given for it"), "{error}");
}

#[tokio::test]
async fn a_token_is_fetched_once_for_many_requests() {
    let (registry, server) = guarded(tokens(None));
    let blob = noise(1000);
    let digest = registry.put_blob(blob.clone());
    let setup = Setup::with_server(&registry);
    let client = setup.client();
    let source = client.resolve(&image(), None).await.unwrap().source;
    assert_eq!(fetch(&client, &source, &digest, 1000).await.unwrap(), blob);
    let asked = server.requests();
    assert_eq!(asked.len(), 1);
    assert_eq!(asked[0].target, "/token?scope=repository:team/app:pull&service=test");
    assert_eq!(asked[0].header("authorization"), None);
}

#[tokio::test]
async fn a_token_server_gets_the_password_and_the_registry_does_not() {
    let (registry, server) = guarded(tokens(Some("me:secret")));
    let setup = Setup::with_server(&registry);
    setup.client().resolve(&image(), Some(&password("me:secret"))).await.unwrap();
    assert!(server.requests()[0].header("authorization").unwrap().starts_with("Basic "));
    assert!(registry.requests().iter().all(|seen| !seen.header("authorization").unwrap_or("").starts_with("Basic ")));
    let error = setup.client().resolve(&image(), Some(&password("me:wrong"))).await.unwrap_err();
    assert_eq!(error.class(), Class::Denied);
    assert!(error.to_string().contains("incorrect username or password"), "{error}");
}

#[tokio::test]
async fn an_identity_token_is_exchanged() {
    let mut given = tokens(None);
    given.identity_token = Some("idtoken".into());
    let (registry, server) = guarded(given);
    let credentials = Credentials { identity_token: "idtoken".into(), ..Credentials::default() };
    let setup = Setup::with_server(&registry);
    setup.client().resolve(&image(), Some(&credentials)).await.unwrap();
    let asked = &server.requests()[0];
    assert_eq!(asked.method, "POST");
    for field in ["grant_type=refresh_token", "service=test", "scope=repository:team/app:pull", "refresh_token=idtoken"]
    {
        assert!(asked.body.contains(field), "{}", asked.body);
    }
}

#[tokio::test]
async fn a_registry_token_is_sent_as_it_is() {
    let (registry, server) = guarded(tokens(None));
    let setup = Setup::with_server(&registry);
    let credentials = |token: &str| Credentials { registry_token: token.into(), ..Credentials::default() };
    setup.client().resolve(&image(), Some(&credentials("good"))).await.unwrap();
    let error = setup.client().resolve(&image(), Some(&credentials("bad"))).await.unwrap_err();
    assert_eq!(error.class(), Class::Denied);
    assert_eq!(server.requests().len(), 0);
}

#[tokio::test]
async fn a_token_that_expired_is_replaced() {
    let (registry, server) = guarded(TokenServer { token: "first".into(), ..tokens(None) });
    registry.guard(Guard::Bearer { realm: format!("{}/token", server.url()), token: "first".into() });
    let setup = Setup::with_server(&registry);
    let client = setup.client();
    client.resolve(&image(), None).await.unwrap();
    server.serve_tokens(TokenServer { token: "second".into(), ..tokens(None) });
    registry.guard(Guard::Bearer { realm: format!("{}/token", server.url()), token: "second".into() });
    client.resolve(&image(), None).await.unwrap();
    assert_eq!(server.requests().len(), 2);
    // A token whose life is over is not even tried.
    server.serve_tokens(TokenServer { token: "second".into(), expires_in: 1, ..tokens(None) });
    let short = setup.client();
    short.resolve(&image(), None).await.unwrap();
    let before = registry.requests().len();
    short.resolve(&image(), None).await.unwrap();
    assert_eq!(registry.requests()[before].header("authorization"), None);
}

#[tokio::test]
async fn a_registry_that_always_says_401_is_asked_twice() {
    let (registry, server) = guarded(TokenServer { token: "never good".into(), ..tokens(None) });
    let error = Setup::with_server(&registry).resolve().await.unwrap_err();
    assert_eq!(error.class(), Class::Denied);
    assert_eq!((registry.requests().len(), server.requests().len()), (2, 1));
}

#[tokio::test]
async fn a_token_server_that_is_down_is_named() {
    let (registry, server) = guarded(tokens(None));
    server.misbehave("token", Behaviour::status(503));
    let error = Setup::with_server(&registry).resolve().await.unwrap_err();
    assert_eq!(error.class(), Class::Unavailable);
    assert!(error.to_string().contains(&format!("the token server {}/token gave no token", server.url())), "{error}");
    let url = server.url();
    drop(server);
    let error = Setup::with_server(&registry).resolve().await.unwrap_err();
    assert!(error.to_string().contains(&url) && error.to_string().contains("refused"), "{error}");
}

#[tokio::test]
async fn an_unknown_scheme_is_named() {
    let registry = registry();
    registry.misbehave("manifests", Behaviour::status_with(401, "WWW-Authenticate", "Negotiate"));
    let error = Setup::with_server(&registry).resolve().await.unwrap_err();
    assert_eq!(error.class(), Class::Denied);
    assert!(error.to_string().contains("Negotiate"), "{error}");
}

#[tokio::test]
async fn nothing_that_proves_who_asks_leaves_for_another_origin() {
    let (registry, elsewhere) = (registry(), registry());
    registry.guard(Guard::Basic("me:secret".into()));
    let blob = noise(5000);
    elsewhere.put_blob(blob.clone());
    let digest = registry.put_blob(blob.clone());
    let setup = Setup::new(&format!("server = {:?}\n[header]\nx-key = \"from the file\"\n", registry.url()));
    let client = setup.client();
    let source = client.resolve(&image(), Some(&password("me:secret"))).await.unwrap().source;
    registry.misbehave("blobs", Behaviour::redirect(&format!("{}/v2/x/blobs/{digest}?signature=1", elsewhere.url())));
    assert_eq!(fetch(&client, &source, &digest, 5000).await.unwrap(), blob);
    let redirected = registry.requests().pop().unwrap();
    assert_eq!(redirected.header("x-key"), Some("from the file"));
    assert!(redirected.header("authorization").is_some());
    let seen = &elsewhere.requests()[0];
    assert_eq!((seen.header("authorization"), seen.header("x-key")), (None, None));
}

#[tokio::test]
async fn a_challenge_after_a_redirect_is_not_answered() {
    let (registry, elsewhere) = (registry(), registry());
    elsewhere.guard(Guard::Basic("me:secret".into()));
    registry.misbehave("manifests", Behaviour::redirect(&format!("{}/v2/team/app/manifests/1", elsewhere.url())));
    let setup = Setup::with_server(&registry);
    let error = setup.client().resolve(&image(), Some(&password("me:secret"))).await.unwrap_err();
    assert_eq!(error.class(), Class::Denied);
    elsewhere.misbehave("manifests", Behaviour::Status { status: 500, headers: vec![], body: "inner secret".into() });
    let error = setup.client().resolve(&image(), Some(&password("me:secret"))).await.unwrap_err();
    assert!(!error.to_string().contains("inner secret"), "what another origin says is not repeated: {error}");
    assert!(elsewhere.requests().iter().all(|seen| seen.header("authorization").is_none()));
}

#[tokio::test]
async fn a_mirror_does_not_get_the_registrys_credentials() {
    let (mirror, server) = (registry(), registry());
    mirror.guard(Guard::Basic("me:secret".into()));
    server.guard(Guard::Basic("me:secret".into()));
    let setup = Setup::new(&format!("server = {:?}\n[host.{:?}]\n", server.url(), mirror.url()));
    let resolved = setup.client().resolve(&image(), Some(&password("me:secret"))).await.unwrap();
    assert_eq!(resolved.source.host().unwrap().to_string(), server.url());
    assert!(mirror.requests().iter().all(|seen| seen.header("authorization").is_none()));
    let named = Credentials { server_address: mirror.host(), ..password("me:secret") };
    let resolved = setup.client().resolve(&image(), Some(&named)).await.unwrap();
    assert_eq!(resolved.source.host().unwrap().to_string(), mirror.url());
}

#[tokio::test]
async fn the_machines_credentials_are_used() {
    let registry = registry();
    registry.guard(Guard::Basic("machine:secret".into()));
    let setup = Setup::with_server(&registry);
    setup.file("config.json", r#"{"auths": {"r.example": {"username": "machine", "password": "secret"}}}"#);
    setup.resolve().await.unwrap();
    setup.file("config.json", "{");
    let error = setup.resolve().await.unwrap_err();
    assert_eq!(error.class(), Class::Invalid);
}
