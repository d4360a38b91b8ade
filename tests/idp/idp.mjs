// An OpenID provider on a free port of loopback: client_credentials gives JWT access tokens (RFC 9068) for one API, with
// scopes. POST /rotate signs with a new key from then on and keeps the old public key in the JWKS; POST /forget drops all
// but the newest key. Prints `issuer URL` when it listens.
import http from 'node:http';
import { Provider, errors } from 'oidc-provider';
import { exportJWK, generateKeyPair } from 'jose';

const API = 'api://claude';
const SCOPES = ['claude:haiku', 'claude:sonnet', 'claude:opus'];
const alg = process.env.ALG ?? 'RS256';
const ttl = Number(process.env.TTL ?? 300);

let made = 0;
async function newKey() {
  const { privateKey } = await generateKeyPair(alg, { extractable: true });
  made += 1;
  return { ...(await exportJWK(privateKey)), kid: `key-${made}`, use: 'sig', alg };
}

function client(id, scope) {
  return {
    client_id: id,
    client_secret: `${id}-secret`,
    scope,
    grant_types: ['client_credentials'],
    redirect_uris: [],
    response_types: [],
    id_token_signed_response_alg: alg,
  };
}

function provider(issuer, keys) {
  return new Provider(issuer, {
    jwks: { keys },
    clients: [client('haiku-service', 'claude:haiku'), client('opus-service', SCOPES.join(' '))],
    scopes: SCOPES,
    features: {
      devInteractions: { enabled: false },
      clientCredentials: { enabled: true },
      resourceIndicators: {
        enabled: true,
        defaultResource: () => API,
        getResourceServerInfo(_context, resource) {
          if (resource !== API) throw new errors.InvalidTarget();
          return {
            scope: SCOPES.join(' '),
            audience: API,
            accessTokenTTL: ttl,
            accessTokenFormat: 'jwt',
            jwt: { sign: { alg } },
          };
        },
      },
    },
    extraTokenClaims: (_context, token) => ({ tenant: 'acme', groups: [token.clientId] }),
  }).callback();
}

let keys = [await newKey()]; // newest first: the provider signs with the first that fits
let handler;
let issuer;

const server = http.createServer(async (request, response) => {
  const change = { '/rotate': async () => [await newKey(), ...keys], '/forget': async () => keys.slice(0, 1) }[request.url];
  if (request.method !== 'POST' || !change) return handler(request, response);
  keys = await change();
  handler = provider(issuer, keys);
  response.end(keys.map((key) => key.kid).join(' '));
});
server.listen(0, '127.0.0.1', () => {
  issuer = `http://127.0.0.1:${server.address().port}`;
  handler = provider(issuer, keys);
  console.log(`issuer ${issuer}`);
});
