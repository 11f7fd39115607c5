/**
 * Stores the page for use without a network.
 *
 * FILES, which `make web` writes in front of this, has the SHA-256 in base64 of every file.  A stored file has its hash
 * in its address: a new version fetches only what has changed.  All open pages keep the older one until one of them
 * activates the new one; what the others request after that is new.
 */
/* global FILES */

const NAME = `edge-tagger ${registration.scope}`;

function keyOf(path) {
  return new URL(`${path}?${encodeURIComponent(FILES[path])}`, registration.scope).href;
}

async function store() {
  const cache = await caches.open(NAME);
  for (const [path, hash] of Object.entries(FILES)) {
    if (await cache.match(keyOf(path))) continue;
    await cache.put(keyOf(path), await verified(new URL(path, registration.scope), `sha256-${hash}`));
  }
}

/** A file of this version; a server that compares dates says of one with an older date that it has not changed. */
function verified(url, integrity) {
  return fetch(url, { cache: "no-cache", integrity }).catch(() => fetch(url, { cache: "reload", integrity }));
}

async function removeOthers() {
  const cache = await caches.open(NAME);
  const kept = new Set(Object.keys(FILES).map(keyOf));
  for (const { url } of await cache.keys()) if (!kept.has(url)) await cache.delete(url);
}

async function answer(request, path) {
  const stored = await caches.open(NAME).then((cache) => cache.match(keyOf(path)));
  return stored ?? fetch(request);
}

addEventListener("install", (event) => event.waitUntil(store()));
addEventListener("activate", (event) => event.waitUntil(removeOthers()));
addEventListener("message", ({ data }) => {
  if (data === "activate") skipWaiting();
});
addEventListener("fetch", (event) => {
  const { origin, pathname } = new URL(event.request.url);
  const scope = new URL(registration.scope);
  const path = pathname.startsWith(scope.pathname) ? pathname.slice(scope.pathname.length) || "index.html" : "";
  if (origin === scope.origin && event.request.method === "GET" && Object.hasOwn(FILES, path)) {
    event.respondWith(answer(event.request, path));
  }
});
