// What Orthanc says of the accounts, and the worker of their transfers.

import {ask} from "./server.js";

// The accounts by their names, and what the worker says of each; or why it says nothing.
export async function readAccounts() {
  const [accounts, transfers] = await Promise.all([
    ask(["accounts"]),
    ask(["transfers"]).catch((error) => error),
  ]);
  const isKnown = !(transfers instanceof Error);
  const found = new Map(accounts.map((account) => [account.Name, {name: account.Name, account}]));
  for (const one of isKnown ? transfers : []) {
    found.set(one.Account, {...found.get(one.Account), name: one.Account, transfers: one});
  }
  return {accounts: [...found.values()], silence: isKnown ? null : transfers.message};
}

// How many instances need a person, those for stores that the account formerly was with them.
export function inQuarantine({transfers}) {
  const sum = (total, one) => total + one.QuarantinedInstances;
  return transfers ? transfers.FormerStores.reduce(sum, transfers.Quarantined.Instances) : 0;
}
