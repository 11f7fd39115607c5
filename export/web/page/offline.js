/** Registers the service worker, and offers a reload once it has stored a newer version of the page. */

export async function register(notice) {
  const { serviceWorker } = navigator;
  if (!serviceWorker) return; // an address without https
  const registration = await serviceWorker.register("service_worker.js", { updateViaCache: "none" });
  const offer = () => {
    if (registration.waiting && serviceWorker.controller) notice.hidden = false;
  };
  registration.addEventListener("updatefound", () => registration.installing.addEventListener("statechange", offer));
  offer();
  notice.querySelector("button").addEventListener("click", () => {
    serviceWorker.addEventListener("controllerchange", () => location.reload(), { once: true });
    registration.waiting.postMessage("activate");
  });
}
