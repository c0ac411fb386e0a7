// Answers with the two headers that let WebAssembly use threads, from any server of files, and without a connection too.
const KEPT = `msrn-${new URL(self.registration.scope).pathname}`;

self.addEventListener("install", () => self.skipWaiting());
self.addEventListener("activate", (event) => event.waitUntil(self.clients.claim()));
self.addEventListener("fetch", (event) => {
  const ours = event.request.url.startsWith(self.registration.scope);
  if (ours && event.request.method === "GET") event.respondWith(answer(event.request));
});

async function answer(request) {
  const cache = await caches.open(KEPT);
  let found;
  try {
    found = await fetch(request);
    if (found.status === 200) await cache.put(request.url, found.clone());
  } catch (error) {
    found = await cache.match(request.url);
    if (!found) throw error;
  }
  const headers = new Headers(found.headers);
  headers.set("Cross-Origin-Opener-Policy", "same-origin");
  headers.set("Cross-Origin-Embedder-Policy", "require-corp");
  return new Response(found.body, { status: found.status, statusText: found.statusText, headers });
}
