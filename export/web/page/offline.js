/** Registers the service worker, and offers a reload once it has stored a newer version of the page. */

const SCRIPT = "service_worker.js";

export async function register(notice) {
  const { serviceWorker } = navigator;
  if (!serviceWorker) return; // an address without https
  const registration = await serviceWorker.register(SCRIPT, { updateViaCache: "none" });
  const offer = () => {
    if (registration.waiting && serviceWorker.controller) notice.hidden = false;
  };
  registration.addEventListener("updatefound", () => registration.installing.addEventListener("statechange", offer));
  offer();
  if (serviceWorker.controller) update(registration);
  notice.querySelector("button").addEventListener("click", () => {
    if (!registration.waiting) return location.reload(); // another tab has activated it
    serviceWorker.addEventListener("controllerchange", () => location.reload(), { once: true });
    return registration.waiting.postMessage("activate");
  });
}

/** Look for a newer version; a server that compares dates would say of one with an older date that it has not changed. */
async function update(registration) {
  try {
    await fetch(SCRIPT, { cache: "reload" });
    await registration.update();
  } catch {
    return; // no network, or an incomplete copy: the stored version stays
  }
}
