#!/bin/sh
# Make the certificates of the TLS tests anew, valid for 100 years; the key of the authority is thrown away.
# Needs OpenSSL 3.
set -eu
cd "$(dirname "$0")"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

key() { openssl genpkey -quiet -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$1"; }
authority() { key "$work/$1.key"; openssl req -x509 -key "$work/$1.key" -subj "/CN=$1" -days 36500 -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign -out "$2" 2>/dev/null; }
# sign FILE AUTHORITY AUTHORITY_FILE SAN [OPTIONS]: a certificate and, beside it, its key
sign() {
    name=$1 by=$2 by_file=$3 san=$4
    shift 4
    key "$name.key"
    openssl req -new -key "$name.key" -subj "/CN=$name" -out "$work/$name.csr"
    printf 'subjectAltName=%s\nbasicConstraints=CA:FALSE\nsubjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\n' "$san" > "$work/$name.ext"
    openssl x509 -req -in "$work/$name.csr" -CA "$by_file" -CAkey "$work/$by.key" -extfile "$work/$name.ext" \
        "$@" -out "$name.pem" 2>/dev/null
}

authority test-authority ca.pem
authority foreign-authority "$work/foreign-ca.pem"
sign server test-authority ca.pem DNS:sip.example.com,DNS:localhost,IP:127.0.0.1 -days 36500
sign renewed test-authority ca.pem DNS:sip.example.com,IP:127.0.0.1 -days 36500
sign client test-authority ca.pem URI:sip:client.example.com,DNS:host.example.com -days 36500
sign foreign foreign-authority "$work/foreign-ca.pem" DNS:sip.example.com,IP:127.0.0.1 -days 36500
sign expired test-authority ca.pem DNS:sip.example.com,IP:127.0.0.1 -days -1
# One DNS name that holds a NUL: "sip.example.com\0.example.net".
sign nul test-authority ca.pem DER:301e821c7369702e6578616d706c652e636f6d002e6578616d706c652e6e6574 -days 36500
