// The key: kept in this tab's sessionStorage and nowhere else.
//
// It may arrive as `#key=…`, which browsers send to no server; it is removed from the address before the first request.
// A key in the query has already been sent over the network, so it is removed and not used.

const NAME = "fanfold-key";

/** Names under which people put a key into a query. */
const QUERY_NAMES = ["key", "api_key", "apikey", "token", "access_token", "authorization"];

/**
 * Takes the key from the address, which afterwards has none.
 * @returns {{ hadQueryKey: boolean, tookKey: boolean }}
 */
export function takeKeyFromAddress() {
  const address = new URL(location.href);
  const names = [...address.searchParams.keys()].filter((name) => QUERY_NAMES.includes(name.toLowerCase()));
  names.forEach((name) => address.searchParams.delete(name));
  const parts = address.hash.slice(1).split("&");
  const key = parts.find((part) => part.startsWith("key="));
  const tookKey = key !== undefined && setKey(decoded(key.slice("key=".length)));
  if (names.length > 0 || key !== undefined) {
    address.hash = parts.filter((part) => !part.startsWith("key=")).join("&");
    history.replaceState(null, "", address);
  }
  return { hadQueryKey: names.length > 0, tookKey };
}

/** @param {string} text */
function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

/** The key, or null. */
export function getKey() {
  return sessionStorage.getItem(NAME);
}

/**
 * Keeps a key. Text that can't be sent as a bearer token is refused.
 * @param {string} text
 */
export function setKey(text) {
  const key = text.trim().replace(/^bearer\s+/i, "");
  if (!/^[\x21-\x7e]{1,4096}$/.test(key)) return false;
  sessionStorage.setItem(NAME, key);
  return true;
}

export function forgetKey() {
  sessionStorage.removeItem(NAME);
}
