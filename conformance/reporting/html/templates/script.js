"use strict";
// Filters of the index, kept in the address so that a filtered view can be linked. Without script everything is shown.
(function () {
  const form = document.getElementById("filters");
  if (form) {
    const rows = [...document.querySelectorAll("#variants tbody tr")];
    const findings = [...document.querySelectorAll("#all-findings > li")];
    const status = document.getElementById("shown");
    const none = document.getElementById("no-findings");
    const fields = ["variant", "verdict", "library", "section", "state"];
    const asked = new URLSearchParams(location.search);
    for (const name of fields) if (asked.has(name)) form.elements[name].value = asked.get(name);

    function matches(row, want) {
      const of = row.dataset;
      const sections = want.section ? [want.section] : [...form.elements.section.options].map((o) => o.value).filter(Boolean);
      return (
        of.variant.toLowerCase().includes(want.variant.trim().toLowerCase()) &&
        (!want.verdict || of.verdict === want.verdict) &&
        (!want.library || of.library === want.library) &&
        (!want.state || sections.some((name) => of[name] === want.state))
      );
    }

    function show() {
      const want = Object.fromEntries(fields.map((name) => [name, form.elements[name].value]));
      const kept = new Set();
      for (const row of rows) {
        row.hidden = !matches(row, want);
        if (!row.hidden) kept.add(row.querySelector("a").getAttribute("href"));
      }
      let told = 0;
      for (const item of findings) {
        const page = item.querySelector("a").getAttribute("href").split("#")[0];
        item.hidden = !kept.has(page) || Boolean(want.section && item.dataset.sections !== want.section);
        told += item.hidden ? 0 : 1;
      }
      none.hidden = told > 0;
      status.textContent = `${kept.size} of ${rows.length} variants, ${told} of ${findings.length} findings`;
      const query = new URLSearchParams(Object.entries(want).filter(([, value]) => value)).toString();
      try {
        history.replaceState(null, "", (query ? `?${query}` : location.pathname) + location.hash);
      } catch (error) {
        // A browser may refuse this for a file that was opened from disk; the filters work without it.
      }
    }

    form.hidden = false;
    form.addEventListener("input", show);
    form.addEventListener("reset", () => setTimeout(show));
    form.addEventListener("submit", (event) => event.preventDefault());
    show();
  }

  // A link to a case opens the table that holds it.
  function reveal() {
    const place = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
    for (let at = place; at; at = at.parentElement) if (at.tagName === "DETAILS") at.open = true;
    if (place) place.scrollIntoView();
  }
  addEventListener("hashchange", reveal);
  reveal();
})();
