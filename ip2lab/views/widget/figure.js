// The page's side of ip2lab.views.figure: BokehJS once, one Bokeh document a widget, patches from the kernel, events to it.

const pages = (window.ip2labBokeh ??= {}); // version -> promise of BokehJS, shared by every figure of the page

async function run(packed) {
  const plain = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  const script = document.createElement("script");
  script.textContent = await new Response(plain).text();
  document.head.append(script);
  script.remove();
}

const found = (version) => (window.Bokeh?.version === version ? window.Bokeh : window.Bokeh?.[version]);

// A lasso that begins beside the axes is none: Bokeh would fail an assertion there and take no further drag.
function guard(lasso) {
  for (const name of ["_pan", "_pan_end"]) {
    const own = lasso[name];
    lasso[name] = function (event) { if (this._is_selecting) own.call(this, event); };
  }
}

async function bokeh(model) {
  const loader = await model.widget_manager.get_model(model.get("loader").replace("IPY_MODEL_", ""));
  const version = loader.get("version");
  pages[version] ??= (async () => {
    if (!found(version)) await run(loader.get("script"));
    found(version).set_log_level("error");
    guard(found(version).require("models/tools/gestures/lasso_select_tool").LassoSelectToolView.prototype);
    return found(version);
  })();
  return pages[version];
}

const KEYS = new Set(["ArrowLeft", "ArrowRight", "ArrowUp", "ArrowDown", "Escape"]);
const buffer = (view) => view.buffer.slice(view.byteOffset, view.byteOffset + view.byteLength);
const named = (ids, views) => new Map(ids.map((id, i) => [id, buffer(views[i])]));

// Colours of what is not data follow the page, so a figure is readable in a light and in a dark theme.
function dress(doc) {
  const probe = document.createElement("span");
  probe.style.color = "var(--jp-ui-font-color1, var(--vscode-foreground, currentcolor))";
  document.body.append(probe);
  const ink = getComputedStyle(probe).color;
  probe.remove();
  const faint = `rgba(${ink.match(/[\d.]+/g).slice(0, 3)}, 0.14)`;
  const looks = {
    Axis: { axis_label_text_color: ink, major_label_text_color: ink, axis_line_color: ink, major_tick_line_color: ink, minor_tick_line_color: null },
    Grid: { grid_line_color: faint },
    Plot: { background_fill_color: null, border_fill_color: null, outline_line_color: faint },
    Legend: { label_text_color: ink, title_text_color: ink, background_fill_color: null, border_line_color: null },
    ColorBar: { title_text_color: ink, major_label_text_color: ink, background_fill_color: null, major_tick_line_color: ink },
    Title: { text_color: ink },
  };
  for (const one of doc.all_models) {
    const kind = /Axis$/.test(one.type) ? "Axis" : one.type === "Figure" ? "Plot" : one.type;
    if (looks[kind]) one.setv(looks[kind], { sync: false });
  }
}

const element = (name, parent) => {
  const node = document.createElement("div");
  node.className = `ip2lab-${name}`;
  parent.append(node);
  return node;
};

export default () => {
  let Bokeh, Document, master, words, queue = Promise.resolve();
  const late = [];
  const shown = new Set(); // what is on the page: {doc, el, panels}

  // A legend is words beside the caption: it wraps, is never in the way of data, and its names can be clicked.
  const keys = (model, name, node) => {
    const entries = words.legends[name] ?? [], heard = model.get("listened").includes(name);
    const text = JSON.stringify([entries, heard]);
    if (node.dataset.entries === text) return;
    node.dataset.entries = text;
    node.replaceChildren(...entries.map(([label, ink]) => {
      const entry = document.createElement(heard ? "button" : "span"), swatch = document.createElement("i");
      swatch.style.backgroundColor = ink;
      entry.append(swatch, label);
      entry.className = ink.length > 7 && ink.startsWith("#") ? "ip2lab-off" : "";
      if (heard) entry.onclick = () => model.send({ event: "legend", panel: name, name: label });
      return entry;
    }));
  };

  const place = (figure, panels, grid) => {
    figure.style.gridTemplate = grid;
    const named = new Set(grid.match(/[\w-]+/g));
    for (const [name, panel] of Object.entries(panels)) panel.node.style.display = named.has(name) ? "" : "none";
  };

  const write = (model, panels) => {
    for (const [name, panel] of Object.entries(panels)) {
      keys(model, name, panel.keys);
      const [caption, note] = [words.captions[name] ?? "", words.notes[name] ?? ""];
      if (panel.caption.innerHTML !== caption) panel.caption.innerHTML = caption; // escaped by views.markup
      panel.note.textContent = note;
      panel.plot.style.visibility = note ? "hidden" : "";
    }
  };

  // The document that new views are copied from gets its patches when there is time, or a view needs it.
  const catchUp = () => {
    for (const [patch, buffers] of late.splice(0)) master.apply_json_patch(patch, buffers);
  };

  const apply = (model, message, views) => {
    Object.assign(words.captions, message.captions);
    Object.assign(words.notes, message.notes);
    Object.assign(words.legends, message.legends);
    const change = message.patch && [JSON.parse(message.patch), named(message.ids, views)];
    for (const { doc, el, panels } of shown) {
      if (change) doc.apply_json_patch(...change);
      el.classList.remove("ip2lab-busy");
      if (message.rebuilt) dress(doc);
      write(model, panels);
    }
    if (change && late.push(change) === 1) setTimeout(catchUp, 1000);
  };

  // What the person did goes to the kernel; of a moving pointer only the last place every 60 ms.
  const forward = (model, doc) => {
    let waiting = null;
    doc.on_change((change) => {
      if (change.msg_type === "bokeh_event" && change.msg_data.origin) {
        const { event_name, origin, x, y, geometry } = change.msg_data;
        const message = { event: event_name, model: origin.id, x, y };
        if (geometry?.type === "poly") message.geometry = { type: "poly", x: [...geometry.x], y: [...geometry.y] };
        else if (geometry) message.geometry = { ...geometry };
        if (event_name !== "mousemove") return model.send(message);
        if (!waiting) setTimeout(() => { model.send(waiting); waiting = null; }, 60);
        waiting = message;
      }
    });
  };

  return {
    async initialize({ model }) {
      const ready = (async () => {
        Bokeh = await bokeh(model);
        Document = Bokeh.require("document").Document;
        const page = model.get("page");
        words = { captions: page.captions, notes: page.notes, legends: page.legends };
        master = Document.from_json(JSON.parse(page.document), [], named(page.ids, page.buffers));
      })();
      queue = ready;
      model.on("msg:custom", (message, views) => {
        if (message.busy) for (const { el } of shown) el.classList.add("ip2lab-busy");
        else queue = queue.then(() => apply(model, message, views));
      });
      model.on("change:grid", () => { for (const { el, panels } of shown) place(el, panels, model.get("grid")); });
      model.on("change:listened", () => { for (const { panels } of shown) write(model, panels); });
      await ready;
    },
    async render({ model, el }) {
      await queue;
      catchUp();
      const doc = Document.from_json(master.to_json());
      const panels = {};
      const figure = element("figure", el); // its own element: the widget's layout writes into the style of `el`
      figure.tabIndex = 0;
      figure.dataset.lmSuppressShortcuts = "true"; // the page's own keys are not meant while the figure has the focus
      figure.onkeydown = (event) => {
        if (!KEYS.has(event.key) || event.target !== figure) return;
        event.preventDefault();
        model.send({ event: "key", name: event.key });
      };
      for (const name of model.get("panels")) {
        const panel = element("panel", figure);
        panel.style.gridArea = name;
        const head = element("head", panel);
        panels[name] = { node: panel, caption: element("caption", head), keys: element("keys", head), plot: element("plot", panel), note: element("note", panel) };
      }
      place(figure, panels, model.get("grid"));
      const here = { doc, el: figure, panels };
      shown.add(here);
      write(model, panels);
      dress(doc);
      const views = await Bokeh.embed.add_document_standalone(doc, el, Object.values(panels).map((panel) => panel.plot));
      forward(model, doc);
      const watch = new MutationObserver(() => dress(doc));
      watch.observe(document.body, { attributeFilter: ["class", "data-jp-theme-name", "data-vscode-theme-id"] });
      return () => {
        watch.disconnect();
        shown.delete(here);
        views.clear();
      };
    },
  };
};
