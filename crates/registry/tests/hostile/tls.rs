//! Certificates good and bad, and what TLS protects.

use cradle_domain::Classified;
use cradle_registry::Client;
use cradle_testkit::registry::{Behaviour, CertificateAuthority, Guard, Identity, Registry, TokenServer, Validity};

use super::{Setup, fetch, image, noise, put_image, registry};

/// A registry with TLS and a client that trusts `authority_pem`.
fn secure(identity: &Identity, clients: Option<&CertificateAuthority>, authority_pem: &str) -> (Registry, Setup) {
    let registry = Registry::start_tls(identity, clients);
    put_image(&registry);
    let setup = Setup::new(&format!("server = {:?}\nca = \"ca.pem\"\n", registry.url()));
    setup.file("certs.d/r.example/ca.pem", authority_pem);
    (registry, setup)
}

async fn failure(setup: &Setup) -> String {
    let error = setup.resolve().await.unwrap_err();
    format!("{error} ({})", error.hint().unwrap_or_default())
}

#[tokio::test]
async fn a_custom_authority_is_trusted_and_connections_are_used_again() {
    let authority = CertificateAuthority::new("Test");
    let identity = authority.issue(&["127.0.0.1"], Validity::Present);
    let (registry, setup) = secure(&identity, None, &authority.pem());
    let bytes = noise(3 << 20);
    let digest = registry.put_blob(bytes.clone());
    let client = setup.client();
    let source = client.resolve(&image(), None).await.unwrap().source;
    client.resolve(&image(), None).await.unwrap();
    assert!(fetch(&client, &source, &digest, bytes.len() as u64).await.unwrap() == bytes);
    assert_eq!(registry.connections(), 1);
}

#[tokio::test]
async fn an_unknown_authority_is_refused_with_what_to_do() {
    let identity = CertificateAuthority::new("Unknown").issue(&["127.0.0.1"], Validity::Present);
    let (_registry, setup) = secure(&identity, None, &CertificateAuthority::new("Other").pem());
    let text = failure(&setup).await;
    assert!(text.contains("UnknownIssuer") && text.contains("`ca` in its hosts.toml"), "{text}");
}

#[tokio::test]
async fn an_expired_certificate_and_a_wrong_name_are_refused() {
    let authority = CertificateAuthority::new("Test");
    let expired = authority.issue(&["127.0.0.1"], Validity::Expired);
    let (_registry, setup) = secure(&expired, None, &authority.pem());
    let text = failure(&setup).await;
    assert!(text.contains("expired"), "{text}");
    let misnamed = authority.issue(&["other.example", "10.0.0.1"], Validity::Present);
    let (registry, setup) = secure(&misnamed, None, &authority.pem());
    let text = failure(&setup).await;
    assert!(text.contains("not valid for name"), "{text}");
    assert!(registry.requests().is_empty(), "nothing is asked of a stranger");
}

#[tokio::test]
async fn skip_verify_takes_any_certificate() {
    let identity = CertificateAuthority::new("Unknown").issue(&["other.example"], Validity::Expired);
    let registry = Registry::start_tls(&identity, None);
    put_image(&registry);
    let setup = Setup::new(&format!("server = {:?}\nskip_verify = true\n", registry.url()));
    setup.resolve().await.unwrap();
}

#[tokio::test]
async fn a_self_signed_certificate_can_be_its_own_authority() {
    let identity = Identity::self_signed(&["127.0.0.1"], Validity::Present);
    let (_registry, setup) = secure(&identity, None, identity.certificate_pem());
    setup.resolve().await.unwrap();
    let misnamed = Identity::self_signed(&["other.example"], Validity::Present);
    let (_registry, setup) = secure(&misnamed, None, misnamed.certificate_pem());
    assert!(failure(&setup).await.contains("not valid for name"));
    let expired = Identity::self_signed(&["127.0.0.1"], Validity::Expired);
    let (_registry, setup) = secure(&expired, None, expired.certificate_pem());
    assert!(failure(&setup).await.contains("expired"));
    let (_registry, setup) = secure(&identity, None, misnamed.certificate_pem());
    assert!(failure(&setup).await.contains("no secure connection"), "another's certificate is no proof");
}

#[tokio::test]
async fn a_client_shows_the_certificate_that_the_server_believes() {
    let (servers, clients) = (CertificateAuthority::new("Servers"), CertificateAuthority::new("Clients"));
    let server = servers.issue(&["127.0.0.1"], Validity::Present);
    let (registry, setup) = secure(&server, Some(&clients), &servers.pem());
    assert!(setup.resolve().await.is_err());
    let wrong = CertificateAuthority::new("Strangers").issue(&["client"], Validity::Present);
    let right = clients.issue(&["client"], Validity::Present);
    for (name, identity) in [("wrong", &wrong), ("right", &right)] {
        setup.file(&format!("certs.d/r.example/{name}.cert"), identity.certificate_pem());
        setup.file(&format!("certs.d/r.example/{name}.key"), identity.key_pem());
    }
    let text = format!(
        "server = {:?}\nca = \"ca.pem\"\nclient = [[\"wrong.cert\", \"wrong.key\"], [\"right.cert\", \"right.key\"]]\n",
        registry.url()
    );
    setup.file("certs.d/r.example/hosts.toml", &text);
    setup.resolve().await.unwrap();
}

#[tokio::test]
async fn files_that_hold_no_certificate_are_named() {
    let identity = Identity::self_signed(&["127.0.0.1"], Validity::Present);
    let (_registry, setup) = secure(&identity, None, "not PEM");
    assert!(failure(&setup).await.contains("ca.pem holds no certificate"));
    std::fs::remove_file(setup.folder.path().join("certs.d/r.example/ca.pem")).unwrap();
    assert!(failure(&setup).await.contains("ca.pem"));
}

#[tokio::test]
async fn plain_http_behind_https_is_told() {
    let plain = registry();
    let setup = Setup::new(&format!("server = \"https://{}\"", plain.host()));
    let text = failure(&setup).await;
    assert!(text.contains("say http:// in its hosts.toml"), "{text}");
}

#[tokio::test]
async fn a_redirect_from_tls_to_plain_http_is_refused() {
    let authority = CertificateAuthority::new("Test");
    let identity = authority.issue(&["127.0.0.1"], Validity::Present);
    let (secure, setup) = secure(&identity, None, &authority.pem());
    let plain = registry();
    secure.misbehave("manifests", Behaviour::redirect(&format!("{}/v2/team/app/manifests/1", plain.url())));
    let text = failure(&setup).await;
    assert!(text.contains("redirects from TLS to plain http"), "{text}");
    assert!(plain.requests().is_empty());
}

#[tokio::test]
async fn a_token_server_without_tls_gets_nothing_for_a_registry_with_it() {
    let authority = CertificateAuthority::new("Test");
    let identity = authority.issue(&["127.0.0.1"], Validity::Present);
    let (secure, setup) = secure(&identity, None, &authority.pem());
    let plain = Registry::start();
    plain.serve_tokens(TokenServer { user: None, identity_token: None, token: "t".into(), expires_in: 60 });
    secure.guard(Guard::Bearer { realm: format!("{}/token", plain.url()), token: "t".into() });
    let error = setup.client().resolve(&image(), Some(&super::password("me:secret"))).await.unwrap_err();
    assert!(error.to_string().contains("in the clear"), "{error}");
    assert!(plain.requests().is_empty());
}

#[tokio::test]
async fn a_registry_on_loopback_needs_no_configuration() {
    let identity = CertificateAuthority::new("Unknown").issue(&["x"], Validity::Present);
    for registry in [Registry::start(), Registry::start_tls(&identity, None)] {
        put_image(&registry);
        let mut setup = Setup::new("");
        setup.config.config_path = None;
        let reference = cradle_domain::Reference::parse(&format!("{}/team/app:1", registry.host())).unwrap();
        let client: Client = setup.client();
        let resolved = client.resolve(&reference, None).await.unwrap();
        assert_eq!(resolved.source.host().unwrap().to_string(), registry.url());
        assert!(registry.requests().iter().all(|seen| !seen.target.contains("ns=")));
    }
}
