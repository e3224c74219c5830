"use strict";
(() => {
  // A link to what is folded opens it, with all that it is folded in.
  function follow() {
    const target = /^#change-/.test(location.hash) && document.getElementById(location.hash.slice(1));
    if (!target) return;
    for (let one = target; one; one = one.parentElement) if (one.tagName === "DETAILS") one.open = true;
    target.scrollIntoView();
  }
  addEventListener("hashchange", follow);
  document.addEventListener("click", (event) => {
    const link = event.target.closest?.('a[href^="#change-"]');
    if (link && link.getAttribute("href") === location.hash) follow();
  });
  follow();
})();
