//! Whether a private key belongs to a certificate (`crypto/tls/tls.go:X509KeyPair` of Go). The halves
//! are compared as they stand in the files: nothing is signed, so nothing random is drawn.

// rustls, by the crate that brings it; nothing of tokio comes with it.
use tokio_rustls::rustls::crypto::ring::sign::any_eddsa_type;
use tokio_rustls::rustls::pki_types::PrivatePkcs8KeyDer;
use x509_parser::asn1_rs::{Any, FromDer as _, Oid, Tag};
use x509_parser::oid_registry::{
    OID_KEY_TYPE_EC_PUBLIC_KEY, OID_PKCS1_RSAENCRYPTION, OID_SIG_ED25519,
};
use x509_parser::prelude::X509Certificate;
use x509_parser::public_key::PublicKey;

/// What tells whose a private key is.
enum PrivateKey<'a> {
    /// The modulus.
    Rsa(&'a [u8]),
    /// The public point, which tools write beside the secret number but need not.
    Ec(Option<&'a [u8]>),
    /// The whole key.
    Ed25519(&'a [u8]),
}

/// Whether the key with the encoding `key` is the one of `certificate`. An EC key without its public
/// point is believed to be: to know would take arithmetic on its curve.
pub(super) fn belongs(key: &[u8], certificate: &X509Certificate<'_>) -> bool {
    let info = certificate.public_key();
    match (private_key(key), info.parsed()) {
        (Some(PrivateKey::Rsa(modulus)), Ok(PublicKey::RSA(public))) => {
            modulus == unsigned(public.modulus)
        }
        (Some(PrivateKey::Ec(point)), Ok(PublicKey::EC(public))) => {
            point.is_none_or(|point| point == public.data())
        }
        (Some(PrivateKey::Ed25519(key)), Ok(_)) => {
            let key = any_eddsa_type(&PrivatePkcs8KeyDer::from(key));
            let public = key.as_ref().ok().and_then(|key| key.public_key());
            public.is_some_and(|public| public.as_ref() == info.raw)
        }
        _ => false,
    }
}

/// A key in one of the encodings that `parsePrivateKey` tries: PKCS #1, PKCS #8, SEC 1. The label of
/// its PEM block does not count.
fn private_key(der: &[u8]) -> Option<PrivateKey<'_>> {
    let fields = sequence(der)?;
    let tags: Vec<Tag> = fields.iter().take(3).map(Any::tag).collect();
    match tags[..] {
        [Tag::Integer, Tag::Integer, Tag::Integer] => rsa(&fields),
        [Tag::Integer, Tag::Sequence, Tag::OctetString] => {
            let (_, algorithm) = Oid::from_der(fields[1].data).ok()?;
            let inner = fields[2].data;
            if algorithm == OID_PKCS1_RSAENCRYPTION {
                rsa(&sequence(inner)?)
            } else if algorithm == OID_KEY_TYPE_EC_PUBLIC_KEY {
                ec(&sequence(inner)?)
            } else {
                (algorithm == OID_SIG_ED25519).then_some(PrivateKey::Ed25519(der))
            }
        }
        [Tag::Integer, Tag::OctetString, ..] => ec(&fields),
        _ => None,
    }
}

/// `RSAPrivateKey` of RFC 8017: version, modulus, exponents, primes.
fn rsa<'a>(fields: &[Any<'a>]) -> Option<PrivateKey<'a>> {
    let modulus = fields.get(1).filter(|field| field.tag() == Tag::Integer)?;
    Some(PrivateKey::Rsa(unsigned(modulus.data)))
}

/// `ECPrivateKey` of RFC 5915: version, secret, `[0]` curve, `[1]` public point.
fn ec<'a>(fields: &[Any<'a>]) -> Option<PrivateKey<'a>> {
    fields.get(1).filter(|field| field.tag() == Tag::OctetString)?;
    let point = fields.iter().skip(2).find(|field| field.tag() == Tag(1));
    let bits = point.and_then(|point| Any::from_der(point.data).ok());
    // The first octet of a bit string counts the unused bits of its last.
    Some(PrivateKey::Ec(bits.and_then(|(_, bits)| bits.data.get(1..))))
}

/// The elements of the one sequence that `der` is.
fn sequence(der: &[u8]) -> Option<Vec<Any<'_>>> {
    let (rest, outer) = Any::from_der(der).ok()?;
    if !rest.is_empty() || outer.tag() != Tag::Sequence {
        return None;
    }
    let (mut fields, mut content) = (Vec::new(), outer.data);
    while !content.is_empty() {
        let (rest, field) = Any::from_der(content).ok()?;
        fields.push(field);
        content = rest;
    }
    Some(fields)
}

/// A number without the zeros that only keep it positive.
fn unsigned(number: &[u8]) -> &[u8] {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    &number[zeros..]
}
