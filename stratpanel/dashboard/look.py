"""The colours and the bar of the page, for Material's own components; what we draw ourselves has `css/tokens.css`."""

from __future__ import annotations

from typing import Any

FONT = '"Roboto", "Segoe UI", system-ui, sans-serif'
LIGHT = {
    "primary": {"main": "#0b5cab"},
    "error": {"main": "#b3201b"},
    "success": {"main": "#17713a"},
    "warning": {"main": "#855200"},
    "background": {"default": "#ffffff", "paper": "#ffffff"},
    "text": {"primary": "#17202b", "secondary": "#55606e"},
    "divider": "#dde2e8",
}
DARK = {
    "primary": {"main": "#74b3ff", "contrastText": "#0a1420"},
    "error": {"main": "#ff8a80"},
    "success": {"main": "#58c97b"},
    "warning": {"main": "#e5b454"},
    "background": {"default": "#12171e", "paper": "#12171e"},
    "text": {"primary": "#e4e9f0", "secondary": "#9fabba"},
    "divider": "#283140",
}
SHARED: dict[str, Any] = {
    "typography": {"fontFamily": FONT, "fontSize": 13},
    "shape": {"borderRadius": 6},
    "components": {  # Material shouts in capitals and floats its buttons
        "MuiButton": {
            "defaultProps": {"disableElevation": True, "disableRipple": True},
            "styleOverrides": {
                "root": {
                    "textTransform": "none",
                    "fontSize": "13px",
                    "lineHeight": 1.5,
                    "boxShadow": "none",
                    "border": "1px solid rgba(128, 140, 155, .6)",
                }
            },
        },
        "MuiToggleButton": {
            "styleOverrides": {
                "root": {"textTransform": "none", "whiteSpace": "nowrap", "fontSize": "13px", "padding": "3px 10px"}
            }
        },
        "MuiFormHelperText": {"styleOverrides": {"root": {"marginLeft": "2px", "fontSize": "12px", "lineHeight": 1.3}}},
    },
}
THEME: dict[str, dict[str, Any]] = {"light": {"palette": LIGHT, **SHARED}, "dark": {"palette": DARK, **SHARED}}

BAR = {
    "& .MuiLinearProgress-root": {"display": "none"},  # it has no name for a screen reader, and nothing to say
    "& .header": {
        "backgroundColor": "background.paper",
        "backgroundImage": "none",
        "color": "text.primary",
        "boxShadow": "none",
        "borderBottom": "1px solid",
        "borderColor": "divider",
    },
    "& .header .MuiToolbar-root": {"minHeight": "48px", "px": "14px"},
    "& .header .MuiToolbar-root > .MuiBox-root": {"minWidth": 0},  # else the clocks push PANIC off the page
    "& main .MuiToolbar-root": {"minHeight": "49px"},
}
