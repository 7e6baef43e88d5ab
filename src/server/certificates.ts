// A small authority and its certificates, for those who have none: TLS for the API, and later between nodes.
// ECDSA on P-256, which every TLS library takes. The authority may sign nothing but leaf certificates.
import 'reflect-metadata';
import { webcrypto } from 'node:crypto';
import { isIP } from 'node:net';
import * as x509 from '@peculiar/x509';

export interface CertificateOptions {
  /** Host names and IP addresses of the server. */
  readonly hosts: readonly string[];
  readonly days: number;
  /** Milliseconds since 1970. */
  readonly now: number;
}

export interface KeyAndCertificate {
  readonly key: string;
  readonly certificate: string;
}

export interface Certificates {
  readonly authority: KeyAndCertificate;
  readonly server: KeyAndCertificate;
  readonly client: KeyAndCertificate;
}

const ALGORITHM = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' };
const DAY_MS = 24 * 3600 * 1000;
/** The clocks of others may be behind. */
const SKEW_MS = 3600 * 1000;
const SERIAL_BYTES = 16;

export async function makeCertificates(options: CertificateOptions): Promise<Certificates> {
  x509.cryptoProvider.set(webcrypto);
  const keys = await makeKeys();
  const { KeyUsageFlags: usage } = x509;
  const certificate = await x509.X509CertificateGenerator.createSelfSigned({
    ...validity(options),
    name: 'CN=qed authority',
    keys,
    extensions: [
      new x509.BasicConstraintsExtension(true, 0, true),
      new x509.KeyUsagesExtension(usage.keyCertSign | usage.cRLSign, true),
      await x509.SubjectKeyIdentifierExtension.create(keys.publicKey),
    ],
  });
  const issuer = { keys, certificate };
  const names = options.hosts.map((value) => ({ type: isIP(value) > 0 ? 'ip' : 'dns', value }) as const);
  return {
    authority: { key: await keyPem(keys), certificate: certificate.toString('pem') },
    server: await issue(issuer, options, {
      name: `CN=${options.hosts[0] ?? 'qed'}`,
      // Nodes speak to each other with it, so it is a client's as well.
      purposes: [x509.ExtendedKeyUsage.serverAuth, x509.ExtendedKeyUsage.clientAuth],
      extensions: [new x509.SubjectAlternativeNameExtension(names)],
    }),
    client: await issue(issuer, options, {
      name: 'CN=qed client',
      purposes: [x509.ExtendedKeyUsage.clientAuth],
      extensions: [],
    }),
  };
}

interface Issuer {
  readonly keys: webcrypto.CryptoKeyPair;
  readonly certificate: x509.X509Certificate;
}

interface Leaf {
  readonly name: string;
  readonly purposes: readonly string[];
  readonly extensions: readonly x509.Extension[];
}

async function issue(issuer: Issuer, options: CertificateOptions, leaf: Leaf): Promise<KeyAndCertificate> {
  const keys = await makeKeys();
  const certificate = await x509.X509CertificateGenerator.create({
    ...validity(options),
    subject: leaf.name,
    issuer: issuer.certificate.subject,
    publicKey: keys.publicKey,
    signingKey: issuer.keys.privateKey,
    extensions: [
      new x509.BasicConstraintsExtension(false, undefined, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
      new x509.ExtendedKeyUsageExtension([...leaf.purposes]),
      await x509.AuthorityKeyIdentifierExtension.create(issuer.certificate),
      await x509.SubjectKeyIdentifierExtension.create(keys.publicKey),
      ...leaf.extensions,
    ],
  });
  return { key: await keyPem(keys), certificate: certificate.toString('pem') };
}

function validity({ days, now }: CertificateOptions) {
  // A serial number is a positive integer: its first bit is not set.
  const serial = webcrypto.getRandomValues(new Uint8Array(SERIAL_BYTES));
  serial[0]! &= 0x7f;
  return {
    serialNumber: Buffer.from(serial).toString('hex'),
    notBefore: new Date(now - SKEW_MS),
    notAfter: new Date(now + days * DAY_MS),
    signingAlgorithm: ALGORITHM,
  };
}

function makeKeys(): Promise<webcrypto.CryptoKeyPair> {
  return webcrypto.subtle.generateKey(ALGORITHM, true, ['sign', 'verify']);
}

async function keyPem({ privateKey }: webcrypto.CryptoKeyPair): Promise<string> {
  const bytes = await webcrypto.subtle.exportKey('pkcs8', privateKey);
  return x509.PemConverter.encode(bytes, 'PRIVATE KEY');
}
