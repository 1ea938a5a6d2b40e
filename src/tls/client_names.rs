//! Names of a verified client certificate: its subject alternative names, never its common name.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use rustls::pki_types::CertificateDer;
use x509_parser::extensions::GeneralName;

use super::validity::system_time;
use crate::net::certificate::ClientCertificate;

/// Schemes that a URI must not have, since the names of other kinds begin with them.
const KINDS: [&str; 3] = ["dns", "ip", "email"];

/// Reads the names of a certificate that was verified. `None` if it cannot be parsed.
pub(super) fn client_certificate(certificate: &CertificateDer<'_>) -> Option<ClientCertificate> {
    let (_, parsed) = x509_parser::parse_x509_certificate(certificate).ok()?;
    // An error if the extension is there twice.
    let names = match parsed.subject_alternative_name().ok()? {
        Some(extension) => extension.value.general_names.iter().filter_map(name).collect(),
        None => Vec::new(),
    };
    Some(ClientCertificate { names, expires_at: system_time(&parsed.validity().not_after) })
}

/// Returns a name in its text form. `None` for other kinds, and for text that is not printable.
fn name(name: &GeneralName<'_>) -> Option<String> {
    let name = match name {
        GeneralName::URI(uri) if !is_of_other_kind(uri) => (*uri).to_owned(),
        GeneralName::DNSName(name) => format!("dns:{name}"),
        GeneralName::RFC822Name(name) => format!("email:{name}"),
        GeneralName::IPAddress(octets) => format!("ip:{}", address(octets)?),
        _ => return None,
    };
    name.bytes().all(|byte| byte.is_ascii_graphic()).then_some(name)
}

/// Returns true if a URI could be taken for a name of another kind: `dns:checkout.shop.svc`.
fn is_of_other_kind(uri: &str) -> bool {
    let scheme = uri.split_once(':').map_or("", |(scheme, _)| scheme);
    KINDS.iter().any(|kind| scheme.eq_ignore_ascii_case(kind))
}

fn address(octets: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(octets).map(|octets| Ipv4Addr::from(octets).into());
    v4.or_else(|_| <[u8; 16]>::try_from(octets).map(|octets| Ipv6Addr::from(octets).into())).ok()
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DnType, KeyPair, SanType};

    use super::*;

    fn names(sans: Vec<SanType>) -> Vec<String> {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "never-a-name");
        params.subject_alt_names = sans;
        let key = KeyPair::generate().expect("a key");
        let certificate = params.self_signed(&key).expect("signed");
        client_certificate(certificate.der()).expect("parsed").names
    }

    fn uri(text: &str) -> SanType {
        SanType::URI(text.try_into().expect("ASCII"))
    }

    #[test]
    fn each_kind_of_name_has_its_form() {
        let sans = vec![
            uri("spiffe://prod/ns/shop/sa/checkout"),
            SanType::DnsName("checkout.shop.svc".try_into().expect("ASCII")),
            SanType::IpAddress("10.0.0.1".parse().expect("an address")),
            SanType::IpAddress("2001:db8::1".parse().expect("an address")),
            SanType::Rfc822Name("a@b.example".try_into().expect("ASCII")),
        ];
        let expected = [
            "spiffe://prod/ns/shop/sa/checkout",
            "dns:checkout.shop.svc",
            "ip:10.0.0.1",
            "ip:2001:db8::1",
            "email:a@b.example",
        ];
        assert_eq!(names(sans), expected);
    }

    #[test]
    fn a_uri_is_never_a_name_of_another_kind() {
        for text in ["dns:checkout.shop.svc", "DNS:checkout.shop.svc", "ip:10.0.0.1", "email:a@b.example"] {
            assert!(names(vec![uri(text)]).is_empty(), "{text}");
        }
    }

    #[test]
    fn unprintable_text_is_no_name() {
        assert!(names(vec![uri("spiffe://prod/a b"), uri("spiffe://prod/a\0b"), uri("spiffe://prod/a\nb")]).is_empty());
        assert!(names(Vec::new()).is_empty(), "the common name is none");
    }
}
