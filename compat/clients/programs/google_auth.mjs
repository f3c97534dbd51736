// google-auth-library finds credentials by itself, and searches a store with them.
import { readFileSync } from 'node:fs';
import { GoogleAuth, UserRefreshClient } from 'google-auth-library';
import gcpMetadata from 'gcp-metadata';

const wanted = JSON.parse(readFileSync(0, 'utf8'));
const scopes = 'https://www.googleapis.com/auth/cloud-healthcare';
const auth = new GoogleAuth({ scopes });
let client;
if (wanted.user) {
  // Files of users name no token endpoint; the library takes another one in code only.
  client = new UserRefreshClient({ endpoints: { oauth2TokenUrl: wanted.tokenUri } });
  client.fromJSON(JSON.parse(readFileSync(wanted.user, 'utf8')));
} else {
  client = await auth.getClient();
  if (wanted.selfSigned) client.useJWTAccessWithScope = true;
}
const answer = await client.request({ url: `${wanted.dicomweb}/studies` });
const facts = { kind: client.constructor.name, status: answer.status, studies: answer.data };
if (wanted.metadata) {
  facts.available = await gcpMetadata.isAvailable();
  facts.project = await auth.getProjectId();
  facts.universe = await auth.getUniverseDomain();
  facts.email = (await auth.getCredentials()).client_email;
  facts.whole = await gcpMetadata.instance({ params: { recursive: 'true' } });
  facts.idToken = await client.fetchIdToken('https://audience.example');
}
console.log(JSON.stringify(facts));
