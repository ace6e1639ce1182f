// Keeps a page up to date by server-sent events; without it, the page is what it was when loaded.
"use strict";
(() => {
  const told = document.getElementById("told");
  const button = document.getElementById("pause");
  const light = document.querySelector(".live");
  let source = null;
  let paused = false;

  function tell(words, state) {
    if (told.textContent !== words) told.textContent = words;
    light.dataset.state = state;
  }

  function sync(old, fresh) {
    for (const { name } of [...old.attributes]) {
      if (!fresh.hasAttribute(name) && name !== "open") old.removeAttribute(name);
    }
    for (const { name, value } of fresh.attributes) {
      if (name !== "open" && old.getAttribute(name) !== value) old.setAttribute(name, value);
    }
  }

  // Makes the old element like the fresh one and touches only what differs, so that focus, selection
  // and scroll position stay.
  function morph(old, fresh) {
    const before = [...old.childNodes];
    const after = [...fresh.childNodes];
    after.forEach((node, index) => {
      const known = before[index];
      if (!known) {
        old.append(node);
      } else if (known.nodeType !== node.nodeType || known.nodeName !== node.nodeName) {
        known.replaceWith(node);
      } else if (node.nodeType === Node.ELEMENT_NODE) {
        sync(known, node);
        morph(known, node);
      } else if (known.nodeValue !== node.nodeValue) {
        known.nodeValue = node.nodeValue;
      }
    });
    before.slice(after.length).forEach((node) => node.remove());
  }

  function show(id, html) {
    const element = document.getElementById(id);
    if (!element) return;
    const parsed = document.createElement("template");
    parsed.innerHTML = html;
    const scrolled = element.querySelector("[data-follow]");
    const atEnd =
      scrolled && scrolled.scrollTop + scrolled.clientHeight >= scrolled.scrollHeight - 4;
    morph(element, parsed.content);
    const after = element.querySelector("[data-follow]");
    if (after && atEnd) after.scrollTop = after.scrollHeight;
  }

  function take(event) {
    const { part, figure } = JSON.parse(event.data);
    for (const [id, html] of Object.entries(part)) show(id, html);
    for (const [id, data] of Object.entries(figure)) window.windlassDraw?.(id, data);
    tell("Live", "on");
    document.body.dataset.looks = Number(document.body.dataset.looks || 0) + 1;
  }

  function open() {
    if (source || paused) return;
    const address = new URL(document.body.dataset.live, location.href);
    address.searchParams.set("shape", document.body.dataset.shape);
    source = new EventSource(address);
    source.addEventListener("anew", () => {
      close();
      paused = true;
      location.replace(location.pathname + location.search);
    });
    source.addEventListener("look", take);
    source.addEventListener("gone", (event) => {
      close();
      paused = true;
      button.hidden = true;
      tell(`${JSON.parse(event.data).why} This page no longer changes.`, "off");
    });
    source.addEventListener("error", () => {
      tell("No answer from the platform, trying again. Does windlass up still run?", "off");
      if (source && source.readyState === EventSource.CLOSED) {
        close();
        setTimeout(open, 3000);
      }
    });
  }

  function close() {
    if (source) source.close();
    source = null;
  }

  button.addEventListener("click", () => {
    paused = !paused;
    button.textContent = paused ? "Resume" : "Pause";
    if (paused) {
      close();
      tell("Paused", "off");
    } else {
      open();
    }
  });
  // A browser keeps few connections to one host: pages that nobody sees give theirs back.
  document.addEventListener("visibilitychange", () => (document.hidden ? close() : open()));
  document.querySelectorAll("[data-follow]").forEach((e) => (e.scrollTop = e.scrollHeight));
  light.hidden = false;
  open();
})();
